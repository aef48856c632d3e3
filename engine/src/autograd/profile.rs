//! Forward and backward times of a run, layer by layer.
//!
//! A tape with a [`Profile`] notes when each part of the run begins ([`Tape::enter`](crate::Tape::enter): the graph
//! enters each of its layers) and, in the backward pass, how long the records of that part take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Times of one run. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Profile(Arc<Mutex<Spans>>);

#[derive(Debug, Default)]
struct Spans {
    all: Vec<Span>,
    /// Start of the last span, while it is running.
    since: Option<Instant>,
}

/// Time of one part of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Name of the layer.
    pub name: String,
    /// Kind of the layer ([`Layer::kind`](crate::Layer::kind)).
    pub kind: &'static str,
    /// Wall-clock time of the forward pass.
    pub forward: Duration,
    /// Wall-clock time of the backward pass, including the accumulation of gradients.
    pub backward: Duration,
}

impl Profile {
    /// Returns the parts of the run, in the order in which they begin.
    pub fn spans(&self) -> Vec<Span> {
        self.lock().all.clone()
    }

    /// Ends the running part, begins one called `name`, and returns its index.
    pub(crate) fn enter(&self, name: &str, kind: &'static str) -> usize {
        self.leave();
        let mut spans = self.lock();
        let [forward, backward] = [Duration::ZERO; 2];
        spans.all.push(Span { name: name.to_string(), kind, forward, backward });
        spans.since = Some(Instant::now());
        spans.all.len() - 1
    }

    /// Ends the running part.
    pub(crate) fn leave(&self) {
        let spans = &mut *self.lock();
        if let (Some(since), Some(last)) = (spans.since.take(), spans.all.last_mut()) {
            last.forward += since.elapsed();
        }
    }

    /// Adds `time` to the backward pass of part `index`.
    pub(crate) fn went_back(&self, index: usize, time: Duration) {
        self.lock().all[index].backward += time;
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        // A panic elsewhere cannot leave the list of times in an invalid state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
