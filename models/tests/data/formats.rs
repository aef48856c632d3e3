//! Files of other programs: `fixtures/formats` holds one picture as Pillow writes it in four formats.

use super::*;

#[test]
fn formats_of_other_programs_are_read() {
    let picture = |extension: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats");
        decode_file(&folder.join("x").with_extension(extension)).unwrap()
    };
    let exact = picture("bmp");
    assert_eq!((exact.dimensions(), exact.get_pixel(0, 0).0), ((40, 40), [247, 4, 25]));
    assert_eq!(picture("tif"), exact);
    // A GIF has 256 colors, and this WebP file is lossy.
    for (extension, limit) in [("gif", 12.0), ("webp", 12.0)] {
        let (found, bytes) = (picture(extension), exact.as_raw());
        let error: u32 = found.iter().zip(bytes).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(error) / bytes.len() as f64;
        assert!(found.dimensions() == exact.dimensions() && mean < limit, "{extension}: {mean}");
    }
}
