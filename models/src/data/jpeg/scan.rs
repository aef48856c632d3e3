//! The walk over a scan, which checks that every block is present.

use super::blocks::{Band, Damaged, History};
use super::frame::Frame;
use super::huffman::{Codes, Table};
use super::tables::{Part, Tables};

/// The components and coefficients that a scan codes.
pub(super) struct Scan<'a> {
    parts: Vec<Part<'a>>,
    band: Band,
    /// Units between two restart markers; 0 for none.
    restart_interval: usize,
}

impl<'a> Scan<'a> {
    /// Reads the segment of a scan: the identifier and tables of each component, then the band of coefficients and
    /// bits.
    pub fn new(
        frame: &mut Frame,
        tables: &'a Tables,
        restart_interval: usize,
        segment: &[u8],
    ) -> Result<Self, String> {
        let damaged = || "the header of a JPEG scan is damaged".to_string();
        let (&count, rest) = segment.split_first().ok_or_else(damaged)?;
        let (names, band) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(damaged)?;
        let band = Band::new(frame, band, count).ok_or_else(damaged)?;
        let mut parts: Vec<Part> = Vec::new();
        for &[name, numbers] in names.as_chunks().0 {
            let component = frame.components.iter().position(|c| c.id == name).ok_or_else(damaged)?;
            if parts.iter().any(|part| part.component == component) {
                return Err(damaged());
            }
            let table =
                |tables: &'a [Option<Table>; 4], number: u8| tables.get(usize::from(number))?.as_ref();
            let (dc, ac) = (table(&tables.dc, numbers >> 4), table(&tables.ac, numbers & 15));
            let step = tables.mean_steps.get(frame.components[component].steps).copied().unwrap_or(0);
            if step == 0 || (band.codes_means() && dc.is_none()) || (band.codes_others() && ac.is_none()) {
                return Err("a JPEG scan needs a table that is missing".into());
            }
            // For samples of b bits, means scaled by 8 are at most 2ᵇ⁺²; encoders that overshoot stay within twice
            // that.
            let largest_mean = ((8 << frame.precision) / i32::from(step)) >> band.shift;
            frame.components[component].begun |= band.from == 0;
            parts.push(Part { component, dc, ac, largest_mean });
        }
        Ok(Self { parts, band, restart_interval })
    }

    /// Walks over the scan's data at the start of `data`, and returns its length in bytes.
    pub fn walk(&self, frame: &mut Frame, data: &[u8]) -> Result<usize, String> {
        let single = self.parts.len() == 1;
        let [across, down] = if single { frame.blocks(self.parts[0].component) } else { frame.units() };
        let units = across * down;
        let interval = if self.restart_interval == 0 { units } else { self.restart_interval };
        let (mut done, mut at, mut restarts) = (0, 0, 0u8);
        loop {
            let (mut codes, mut history) = (Codes::new(&data[at..]), History::default());
            for unit in done..units.min(done + interval) {
                let walked = self.unit(frame, &mut codes, &mut history, [unit % across, unit / across]);
                if walked.is_err() || codes.overrun() {
                    return Err(damage(&codes, unit, units));
                }
            }
            done = units.min(done + interval);
            let end = if history.empty_blocks == 0 { codes.finish() } else { None };
            at += end.ok_or_else(|| damage(&codes, done, units))?;
            if done == units {
                return Ok(at);
            }
            at += data[at..].iter().take_while(|&&byte| byte == 0xFF).count();
            if data.get(at) != Some(&(0xD0 + restarts % 8)) {
                return Err(format!("the JPEG data lacks a restart marker at block group {done} of {units}"));
            }
            (at, restarts) = (at + 1, restarts.wrapping_add(1));
        }
    }

    /// Walks over the unit at column `x` and row `y`: one block if the scan has one component; otherwise, for each
    /// component, the number of blocks given by its sampling factors.
    fn unit(
        &self,
        frame: &mut Frame,
        codes: &mut Codes,
        history: &mut History,
        [x, y]: [usize; 2],
    ) -> Result<(), Damaged> {
        let single = self.parts.len() == 1;
        for (part, mean) in self.parts.iter().zip(0..) {
            let component = &mut frame.components[part.component];
            let [h, v] = if single { [1, 1] } else { component.sampling };
            for block in 0..h * v {
                if !frame.progressive {
                    self.band.sequential(codes, part, &mut history.means[mean])?;
                    continue;
                }
                let place = (y * v + block / h) * component.row + x * h + block % h;
                let nonzero = component.nonzero.get_mut(place).ok_or(Damaged)?;
                self.band.progressive(codes, part, nonzero, history, mean)?;
            }
        }
        Ok(())
    }
}

/// Describes the damage in `codes` at `unit` of `units`.
fn damage(codes: &Codes, unit: usize, units: usize) -> String {
    match codes.truncated() {
        true => "the JPEG data ends early".into(),
        false => format!("the JPEG data is damaged at block group {unit} of {units}"),
    }
}
