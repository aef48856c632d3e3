//! The clock of the machine at hand.

use super::store::{Found, Key, read, write};
use super::table::Table;
use crate::latency::{ROUNDS, TURN, in_turn_by_batch};
use lopper_compress::techniques::{Clock, Measured};
use lopper_engine::plan::Amount;
use lopper_engine::{Device, Graph, Result};
use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Estimates by a table of this machine, and measures plans in turn.
pub struct MachineClock {
    device: Device,
    /// Where tables are kept. None keeps none.
    folder: Option<PathBuf>,
    /// Tells the user what takes time, or went wrong.
    say: fn(&str),
    table: OnceLock<Table>,
}

impl MachineClock {
    /// A clock for `device`. Its table is read from `folder`, or measured and kept there, when it is first needed; without a
    /// folder, it is measured anew. `say` receives a line about either.
    pub fn new(device: &Device, folder: Option<PathBuf>, say: fn(&str)) -> Self {
        Self { device: device.clone(), folder, say, table: OnceLock::new() }
    }

    /// The table.
    pub fn table(&self) -> &Table {
        self.table.get_or_init(|| self.find())
    }

    fn find(&self) -> Table {
        let Some(key) = Key::of(&self.device) else { return Table::default() };
        let path = self.folder.as_ref().map(|folder| key.path(folder));
        match path.as_ref().map(|path| read(path, &key)) {
            Some(Found::Table(table)) => return table,
            Some(Found::Damaged(why)) => {
                (self.say)(&format!(
                    "the times of this machine cannot be used and are measured again: {why}"
                ));
            }
            _ => {
                let kept =
                    path.as_ref().map_or(String::new(), |path| format!("; kept in {}", path.display()));
                (self.say)(&format!(
                    "measuring the times of this machine's kernels once, for some seconds{kept}"
                ));
            }
        }
        match Table::measure(&self.device) {
            Ok(table) => {
                if let Some(Err(error)) = path.map(|path| write(&path, &key, &table)) {
                    (self.say)(&format!("the times of this machine are not kept: {error}"));
                }
                table
            }
            Err(error) => {
                (self.say)(&format!(
                    "the times of this machine are not known, and estimated for another: {error}"
                ));
                Table::default()
            }
        }
    }
}

impl Clock for MachineClock {
    fn device(&self) -> &Device {
        &self.device
    }

    fn estimate(&self, amount: &Amount) -> f64 {
        self.table().estimate(amount)
    }

    fn measure(&self, networks: &[&Graph], batch: usize) -> Result<Vec<Measured>> {
        let shape = |graph: &&Graph| [batch, graph.info.input[0], graph.info.input[1], graph.info.input[2]];
        let networks: Vec<(&Graph, [usize; 4])> =
            networks.iter().map(|graph| (*graph, shape(graph))).collect();
        let rounds = in_turn_by_batch(&networks, ROUNDS, TURN, &self.device)?;
        Ok(rounds.iter().map(|found| Measured { median: found.median, quartiles: found.quartiles }).collect())
    }
}

impl fmt::Debug for MachineClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineClock").field("folder", &self.folder).finish_non_exhaustive()
    }
}
