//! A first look at a JPEG: its frame and its end, without the data between them.

use super::check::{END_OF_IMAGE, START_OF_SCAN};
use super::frame::Frame;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};

/// Bytes at the end of a file among which the end of the image is expected. Some cameras append data of their own.
const TAIL: u64 = 512;
/// Segments before the frame, of which color profiles in parts and previews make up most.
const SEGMENTS: usize = 1000;

/// Whether `jpeg`, of `length` bytes, has a frame that decoders know, of a size within `most_pixels`, and an end of the
/// image near its end. If not, it may nevertheless be a JPEG that can be decoded.
///
/// # Errors
/// An error of `jpeg`, and one of the kind [`ErrorKind::UnexpectedEof`] if it ends before its frame.
pub fn looks_whole(jpeg: &mut (impl Read + Seek), length: u64, most_pixels: u64) -> Result<bool> {
    jpeg.seek(SeekFrom::Start(2))?;
    let Some(frame) = frame(jpeg)? else { return Ok(false) };
    if frame.width as u64 * frame.height as u64 > most_pixels {
        return Ok(false);
    }
    let mut tail = Vec::new();
    jpeg.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    jpeg.take(TAIL).read_to_end(&mut tail)?;
    // Within coded data, 0xFF is followed by zero or the number of a restart.
    Ok(tail.windows(2).any(|pair| pair == [0xFF, END_OF_IMAGE]))
}

/// The frame of `jpeg`, behind whose start it stands, or `None` if it has another order or kind of segments.
fn frame(jpeg: &mut (impl Read + Seek)) -> Result<Option<Frame>> {
    for _ in 0..SEGMENTS {
        let [mut prefix, mut marker] = bytes(jpeg)?;
        // Any number of 0xFF may stand before a marker.
        while prefix == 0xFF && marker == 0xFF {
            [marker] = bytes(jpeg)?;
            prefix = 0xFF;
        }
        if prefix != 0xFF {
            return Ok(None);
        }
        match marker {
            0x01 | 0xD0..=0xD8 => continue,
            START_OF_SCAN | END_OF_IMAGE | 0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return Ok(None),
            _ => {}
        }
        let length = u16::from_be_bytes(bytes(jpeg)?).checked_sub(2);
        let Some(length) = length else { return Ok(None) };
        if (0xC0..=0xC2).contains(&marker) {
            let mut segment = vec![0; length.into()];
            jpeg.read_exact(&mut segment)?;
            return Ok(Frame::new(false, &segment).ok());
        }
        jpeg.seek(SeekFrom::Current(length.into()))?;
    }
    Ok(None)
}

fn bytes<const N: usize>(from: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => Error::new(e.kind(), "the JPEG data ends early"),
        _ => e,
    })?;
    Ok(bytes)
}
