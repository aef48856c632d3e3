//! IDX files, the format of MNIST and its successors, plain or gzipped.
//!
//! A file consists of the bytes 0, 0, 8 (the code for unsigned bytes), the number of dimensions, each dimension as a
//! big-endian `u32`, and the values, with the last dimension varying fastest (see LeCun's description at
//! <http://yann.lecun.com/exdb/mnist/>).

use super::Dataset;
use super::decode::MAX_DECODED_BYTES;
use flate2::bufread::GzDecoder;
use image::{Rgb, RgbImage};
use lopper_engine::{Error, Result, input, memory};
use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

/// Maximum number of values in an array: ninety times MNIST.
const MAX_VALUES: u64 = 4 << 30;
/// Maximum length of a header: the magic number and 255 dimensions.
const MAX_HEADER: u64 = 4 + 4 * 255;
/// Maximum number of bytes to which one byte of deflated data can expand.
const MAX_EXPANSION: u64 = 1032;

/// An array of bytes with its dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxArray {
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<u8>,
}

impl IdxArray {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read or its magic number, dimensions or length are wrong.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&input::read(path, MAX_VALUES + MAX_HEADER)?, path)
    }

    /// Parses the bytes of a file, gzipped or not. Errors name the file `name`.
    ///
    /// # Errors
    /// [`Error::File`] if the magic number, dimensions or length are wrong.
    pub fn parse(bytes: &[u8], name: &Path) -> Result<Self> {
        let there = bytes.len() as u64;
        let array = if bytes.starts_with(&[0x1F, 0x8B]) {
            Self::from_reader(GzDecoder::new(bytes), there.saturating_mul(MAX_EXPANSION))
        } else {
            Self::from_reader(bytes, there)
        };
        array.map_err(|message| Error::file(name, message))
    }

    /// Parses the data from `reader`, which yields at most `there` bytes.
    fn from_reader(mut reader: impl Read, there: u64) -> Result<Self, String> {
        let mut read_u32 = |what: &str| {
            let mut bytes = [0; 4];
            reader.read_exact(&mut bytes).map_err(|e| format!("cannot read {what}: {e}"))?;
            Ok::<_, String>(bytes)
        };
        let magic = read_u32("the magic number")?;
        let [0, 0, 8, rank @ 1..=u8::MAX] = magic else {
            return Err(format!(
                "not an IDX file of unsigned bytes: the magic number is {magic:02x?}, not [0, 0, 8, rank]"
            ));
        };
        let mut dims = Vec::with_capacity(rank.into());
        for axis in 0..rank {
            dims.push(u32::from_be_bytes(read_u32(&format!("dimension {axis}"))?) as usize);
        }
        let expected =
            dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).filter(|&n| n <= MAX_VALUES);
        let Some(expected) = expected else {
            return Err(format!("dimensions {dims:?} hold more than {MAX_VALUES} values"));
        };
        if expected > there {
            return Err(format!("dimensions {dims:?} need {expected} values, the file has at most {there}"));
        }
        memory::require(format_args!("values of dimensions {dims:?}"), expected)
            .map_err(|e| e.to_string())?;
        // Reading one byte more than expected detects a longer file.
        let mut values = Vec::new();
        values.try_reserve_exact(expected as usize + 1).map_err(|e| e.to_string())?;
        let read = reader.take(expected + 1).read_to_end(&mut values);
        read.map_err(|e| format!("cannot read the values: {e}"))?;
        let expected = expected as usize;
        if values.len() != expected {
            let found = if values.len() > expected { "more".to_string() } else { values.len().to_string() };
            return Err(format!("dimensions {dims:?} need {expected} values, found {found}"));
        }
        Ok(Self { dims, values })
    }
}

/// Gray images and labels from two IDX files.
pub struct IdxImages {
    images: IdxArray,
    labels: IdxArray,
    classes: Vec<String>,
    padded: usize,
}

impl IdxImages {
    /// Combines `images` `[N, H, W]` with `labels` `[N]` into `classes`. Images smaller than `padded` are centered in
    /// a black square of that side. Errors name the two files `names`.
    ///
    /// # Errors
    /// [`Error::File`] if a rank is wrong, the counts differ, the images are empty or too large, or a label is out of
    /// range.
    pub fn new(
        images: IdxArray,
        labels: IdxArray,
        names: [&Path; 2],
        classes: Vec<String>,
        padded: usize,
    ) -> Result<Self> {
        let &[count, height @ 1..=usize::MAX, width @ 1..=usize::MAX] = &images.dims[..] else {
            let message = format!("images have dimensions [N, H, W], found {:?}", images.dims);
            return Err(Error::file(names[0], message));
        };
        let pixels = height.max(padded).saturating_mul(width.max(padded));
        if pixels as u64 > MAX_DECODED_BYTES / 3 {
            let message = format!(
                "images of {height}×{width} pixels are too large: more than {MAX_DECODED_BYTES} bytes as RGB"
            );
            return Err(Error::file(names[0], message));
        }
        if labels.dims != [count] {
            let message =
                format!("{count} images need labels of dimensions [{count}], found {:?}", labels.dims);
            return Err(Error::file(names[1], message));
        }
        if let Some(at) = labels.values.iter().position(|&label| usize::from(label) >= classes.len()) {
            let message =
                format!("label {at} is {}, but there are {} classes", labels.values[at], classes.len());
            return Err(Error::file(names[1], message));
        }
        Ok(Self { images, labels, classes, padded })
    }

    /// Reads `{split}-images-idx3-ubyte` and `{split}-labels-idx1-ubyte` in `dir`, each plain or with `.gz`.
    /// The classes are the digits.
    ///
    /// # Errors
    /// The errors of [`IdxArray::read`] and [`IdxImages::new`].
    pub fn open(dir: &Path, split: &str, padded: usize) -> Result<Self> {
        let file = |what: &str| {
            let plain = dir.join(format!("{split}-{what}-ubyte"));
            if plain.exists() { plain } else { dir.join(format!("{split}-{what}-ubyte.gz")) }
        };
        let (images, labels) = (file("images-idx3"), file("labels-idx1"));
        let classes = (0..10).map(|digit| digit.to_string()).collect();
        Self::new(IdxArray::read(&images)?, IdxArray::read(&labels)?, [&images, &labels], classes, padded)
    }

    /// Keeps the first `limit` images of each class.
    pub fn limit(&mut self, limit: usize) {
        let [_, height, width] = self.images.dims[..] else { unreachable!("checked by new") };
        let mut seen = vec![0; self.classes.len()];
        let kept: Vec<usize> = (0..self.len())
            .filter(|&i| {
                let seen = &mut seen[usize::from(self.labels.values[i])];
                *seen += 1;
                *seen <= limit
            })
            .collect();
        let pixels = height * width;
        self.images.values =
            kept.iter().flat_map(|&i| &self.images.values[i * pixels..][..pixels]).copied().collect();
        self.labels.values = kept.iter().map(|&i| self.labels.values[i]).collect();
        self.images.dims[0] = kept.len();
        self.labels.dims[0] = kept.len();
    }
}

impl Dataset for IdxImages {
    fn len(&self) -> usize {
        self.labels.values.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> u32 {
        self.labels.values[index].into()
    }

    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        let [_, height, width] = self.images.dims[..] else { unreachable!("checked by new") };
        let mut image = RgbImage::new(width.max(self.padded) as u32, height.max(self.padded) as u32);
        let left = (image.width() as usize - width) / 2;
        let top = (image.height() as usize - height) / 2;
        let gray = &self.images.values[index * height * width..][..height * width];
        for (row, values) in image.rows_mut().skip(top).zip(gray.chunks_exact(width)) {
            for (pixel, &value) in row.skip(left).zip(values) {
                *pixel = Rgb([value; 3]);
            }
        }
        Ok(Cow::Owned(image))
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(self.classes.join("\n").as_bytes());
        feed(format!("{:?} in {}", self.images.dims, self.padded).as_bytes());
        feed(&self.images.values);
        feed(&self.labels.values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn error(bytes: &[u8]) -> String {
        IdxArray::parse(bytes, Path::new("some-idx")).unwrap_err().to_string()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn plain_and_gzipped_files_round_trip(dims in prop::collection::vec(1u32..6, 1..4), seed: u8) {
            let values: Vec<u8> = (0..dims.iter().product()).map(|i: u32| (i as u8).wrapping_mul(seed)).collect();
            let bytes = idx(&dims, &values);
            let array = IdxArray { dims: dims.iter().map(|&d| d as usize).collect(), values };
            prop_assert_eq!(&IdxArray::parse(&bytes, Path::new("a")).unwrap(), &array);
            prop_assert_eq!(&IdxArray::parse(&gzip(&bytes), Path::new("a")).unwrap(), &array);
            for len in 0..bytes.len() {
                prop_assert!(IdxArray::parse(&bytes[..len], Path::new("a")).is_err());
            }
        }
    }

    #[test]
    fn errors_describe_invalid_files() {
        assert!(error(&[0, 0, 9, 1, 0, 0, 0, 1, 5]).contains("some-idx: not an IDX file of unsigned bytes"));
        assert!(error(&idx(&[2, 3], &[1, 2, 3, 4, 5])).contains("dimensions [2, 3] need 6 values, found 5"));
        assert!(error(&idx(&[2, 2], &[0; 5])).contains("dimensions [2, 2] need 4 values, found more"));
        assert!(error(&idx(&[u32::MAX; 3], &[])).contains("hold more than"));
        // The header claims billions of values, but there are none: rejected by length, without an allocation.
        assert!(error(&idx(&[1 << 31], &[])).contains("need 2147483648 values, the file has at most 8"));
        assert!(error(&gzip(&idx(&[1 << 31], &[]))).contains("need 2147483648 values"));
        let mut cut = gzip(&idx(&[100], &[7; 100]));
        cut.truncate(cut.len() - 9);
        assert!(error(&cut).contains("cannot read the values"));
    }

    #[test]
    fn images_and_labels_must_agree() {
        let array = |dims: &[usize], values: &[u8]| IdxArray { dims: dims.to_vec(), values: values.to_vec() };
        let names = [Path::new("images"), Path::new("labels")];
        let new = |images, labels| IdxImages::new(images, labels, names, vec!["a".into(), "b".into()], 4);
        let images = || array(&[2, 3, 2], &[9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 1]);
        let message = |images, labels| new(images, labels).err().unwrap().to_string();
        assert!(
            message(images(), array(&[3], &[0; 3]))
                .contains("labels: 2 images need labels of dimensions [2]")
        );
        assert!(
            message(images(), array(&[2], &[1, 2])).contains("labels: label 1 is 2, but there are 2 classes")
        );
        assert!(
            message(array(&[12], &[0; 12]), array(&[2], &[0, 0])).contains("images: images have dimensions")
        );
        // One row of 10,000 pixels, padded to a square, has a hundred million pixels.
        let wide = IdxImages::new(
            array(&[1, 1, 10_000], &[0; 10_000]),
            array(&[1], &[0]),
            names,
            vec!["a".into()],
            10_000,
        );
        assert!(wide.err().unwrap().to_string().contains("images: images of 1×10000 pixels are too large"));

        let mut set = new(images(), array(&[2], &[1, 1])).unwrap();
        let image = set.image(0).unwrap().into_owned();
        let reds: Vec<u8> = image.pixels().map(|p| p[0]).collect();
        assert_eq!(reds, [0, 9, 8, 0, 0, 7, 6, 0, 0, 5, 4, 0, 0, 0, 0, 0]);
        set.limit(1);
        assert_eq!((set.len(), set.label(0), set.image(0).unwrap().into_owned()), (1, 1, image));
    }

    #[test]
    fn a_directory_is_read_plain_or_gzipped() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("t10k-images-idx3-ubyte"), idx(&[2, 1, 1], &[3, 4])).unwrap();
        std::fs::write(dir.path().join("t10k-labels-idx1-ubyte.gz"), gzip(&idx(&[2], &[7, 9]))).unwrap();
        let set = IdxImages::open(dir.path(), "t10k", 1).unwrap();
        assert_eq!((set.len(), set.label(1), set.image(1).unwrap()[(0, 0)]), (2, 9, Rgb([4; 3])));
        let missing = IdxImages::open(dir.path(), "train", 1).err().unwrap().to_string();
        assert!(missing.contains("train-images-idx3-ubyte.gz: "), "{missing}");
    }
}
