//! Where the time of a run goes, layer by layer, both ways.
//!
//! A tape that is given a [`Profile`] notes when each part of the run begins ([`Tape::enter`](crate::Tape::enter):
//! the graph enters each of its layers) and, on the way back, how long the records of that part took.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The times of one run. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Profile(Arc<Mutex<Spans>>);

#[derive(Debug, Default)]
struct Spans {
    all: Vec<Span>,
    /// When the last of them began, while it lasts.
    since: Option<Instant>,
}

/// The time of one part of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name: that of the layer.
    pub name: String,
    /// Its kind: that of the layer ([`Layer::kind`](crate::Layer::kind)).
    pub kind: &'static str,
    /// Wall-clock time of the way forward.
    pub forward: Duration,
    /// Wall-clock time of the way back, the adding up of gradients included.
    pub backward: Duration,
}

impl Profile {
    /// The parts of the run, in the order in which they began.
    pub fn spans(&self) -> Vec<Span> {
        self.lock().all.clone()
    }

    /// Ends the part that lasts and begins one called `name`; its index.
    pub(crate) fn enter(&self, name: &str, kind: &'static str) -> usize {
        self.leave();
        let mut spans = self.lock();
        let [forward, backward] = [Duration::ZERO; 2];
        spans.all.push(Span { name: name.to_string(), kind, forward, backward });
        spans.since = Some(Instant::now());
        spans.all.len() - 1
    }

    /// Ends the part that lasts.
    pub(crate) fn leave(&self) {
        let spans = &mut *self.lock();
        if let (Some(since), Some(last)) = (spans.since.take(), spans.all.last_mut()) {
            last.forward += since.elapsed();
        }
    }

    /// Adds `time` to the way back of part `index`.
    pub(crate) fn went_back(&self, index: usize, time: Duration) {
        self.lock().all[index].backward += time;
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        // A panic elsewhere cannot leave a list of times broken.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
