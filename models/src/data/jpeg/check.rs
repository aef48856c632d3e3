//! The walk over the segments of a JPEG.

use super::frame::Frame;
use super::scan::Scan;
use super::tables::Tables;

const START_OF_IMAGE: u8 = 0xD8;
pub(super) const END_OF_IMAGE: u8 = 0xD9;
const HUFFMAN_TABLES: u8 = 0xC4;
pub(super) const START_OF_SCAN: u8 = 0xDA;
const QUANTIZATION_TABLES: u8 = 0xDB;
const RESTART_INTERVAL: u8 = 0xDD;

/// The tables and frame defined by the segments before a scan.
#[derive(Default)]
struct State {
    frame: Option<Frame>,
    tables: Tables,
    /// Units between two restart markers; 0 for none.
    restart_interval: usize,
}

/// Checks the entropy-coded data of `jpeg`. The error describes the damage.
pub fn check(jpeg: &[u8]) -> Result<(), String> {
    let mut state = State::default();
    let mut at = 2;
    loop {
        let Some(marker) = next_marker(jpeg, &mut at) else {
            return Err("the JPEG data ends early".into());
        };
        match marker {
            END_OF_IMAGE => {
                return state.frame.map_or_else(|| Err("the JPEG has no image".into()), Frame::complete);
            }
            // Markers without a segment. Some encoders write restart markers after the last unit of a scan.
            START_OF_IMAGE | 0x01 | 0xD0..=0xD7 => continue,
            _ => {}
        }
        let segment = segment(jpeg, &mut at)?;
        match marker {
            0xC0..=0xC2 => state.start_frame(marker, segment)?,
            HUFFMAN_TABLES => state.tables.read_codes(segment)?,
            QUANTIZATION_TABLES => state.tables.read_steps(segment)?,
            // Other frames, which the decoder rejects.
            0xC3 | 0xC5..=0xCF => return Ok(()),
            RESTART_INTERVAL => {
                let &[high, low] = segment else { return Err("its restart interval is damaged".into()) };
                state.restart_interval = usize::from(u16::from_be_bytes([high, low]));
            }
            START_OF_SCAN => {
                let frame = state.frame.as_mut().ok_or("a scan comes before the JPEG's frame")?;
                let scan = Scan::new(frame, &state.tables, state.restart_interval, segment)?;
                at += scan.walk(frame, &jpeg[at..])?;
            }
            _ => {}
        }
    }
}

impl State {
    fn start_frame(&mut self, marker: u8, segment: &[u8]) -> Result<(), String> {
        if self.frame.is_some() {
            return Err("the JPEG has a second frame".into());
        }
        self.frame = Some(Frame::new(marker == 0xC2, segment)?);
        Ok(())
    }
}

/// The next marker at or after `at`, which advances past it. Stray bytes between segments are skipped, as in decoders.
fn next_marker(jpeg: &[u8], at: &mut usize) -> Option<u8> {
    let found =
        jpeg.get(*at..)?.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF))?;
    *at += found + 2;
    Some(jpeg[*at - 1])
}

/// The content of the segment at `at`, after its length, which includes itself. `at` advances past the segment.
fn segment<'a>(jpeg: &'a [u8], at: &mut usize) -> Result<&'a [u8], String> {
    let early = || "the JPEG data ends early".to_string();
    let length = jpeg.get(*at..*at + 2).ok_or_else(early)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < 2 {
        return Err("a segment of the JPEG has no length".into());
    }
    let content = jpeg.get(*at + 2..*at + length).ok_or_else(early)?;
    *at += length;
    Ok(content)
}
