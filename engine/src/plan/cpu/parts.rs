//! A span of calls that each thread runs for its own parts of the batch.
//!
//! ```text
//!   x   ┌ part 0 ┬ part 1 ┬ part 2 ┬ …      the whole batch, in the arena of the plan
//!           │        │
//!        thread 0  thread 1                 an arena for each thread, with the values of one part
//!           │        │
//!   y   ┌ part 0 ┬ part 1 ┬ part 2 ┬ …
//! ```
//!
//! A thread runs all calls of a part before it takes another one, and never waits for a thread in between.

use super::bands::Bands;
use super::call::{Call, Values};
use super::inside::Inside;
use super::kernel::Kernel;
use crate::plan::amount::Amount;
use crate::plan::chosen::Chosen;
use crate::plan::lower::Op;
use crate::plan::places::{Place, Places};
use crate::plan::spans::Span;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::Cpu;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// The calls of a span.
pub(super) struct Parts {
    /// Computes on the calling thread.
    cpu: Cpu,
    calls: Vec<Call>,
    /// For each call, the bands in which it is computed together with the next ones.
    bands: Vec<Option<Bands>>,
    /// The number of parts, and the images of each.
    count: usize,
    images: usize,
    /// The value that the first call reads.
    input: Place,
    /// The bytes of the plan's arena that the last call writes.
    output: Range<usize>,
    /// One for each part that is computed at the same time as others.
    threads: Vec<Mutex<Thread>>,
}

/// What belongs to the thread that computes a part.
struct Thread {
    arena: Buffer,
    /// The time spent in each call since the start of a run, if it is measured.
    times: Vec<Duration>,
}

impl Parts {
    /// Creates the calls of `span` from its kernels for the whole batch. `outside` are the places of the plan's values.
    pub fn new(
        cpu: &Cpu,
        span: &Span,
        ops: &[Op],
        kernels: impl Iterator<Item = Kernel>,
        (outside, inside): (&Places, &Inside),
    ) -> Self {
        let ops = &ops[span.ops.clone()];
        let Inside { bands, places } = inside;
        let calls = ops.iter().zip(kernels).map(|(op, kernel)| Call::new(op, kernel.of_part(span), places));
        let calls: Vec<Call> = calls.collect();
        let thread = || {
            Mutex::new(Thread {
                arena: Buffer::unspecified(places.bytes.div_ceil(size_of::<f32>())),
                times: vec![Duration::ZERO; calls.len()],
            })
        };
        let count = span.parts();
        let threads = (0..span.arenas(cpu)).map(|_| thread()).collect();
        let input = outside.of(places.source);
        let output = outside.written(ops.last().expect("a span has operations").output);
        Self {
            cpu: cpu.alone(),
            calls,
            bands: bands.clone(),
            count,
            images: span.images,
            input,
            output,
            threads,
        }
    }

    /// The kernel of each call.
    pub fn chosen(&self) -> impl Iterator<Item = Chosen> {
        let images = if self.images == 1 { "image" } else { "images" };
        let note = format!("{} {images} at a time", self.images);
        self.calls.iter().zip(&self.bands).map(move |(call, bands)| {
            let chosen = call.kernel.chosen(&self.cpu);
            let note = match bands {
                Some(bands) => {
                    let next = match bands.calls() {
                        2 => "layer".to_owned(),
                        calls => format!("{} layers", calls - 1),
                    };
                    format!("with the next {next} in bands of {} rows, {note}", bands.rows())
                }
                None => note.clone(),
            };
            let why = chosen.why.map_or_else(|| note.clone(), |why| format!("{why}; {note}"));
            let products = chosen.products.map(|products| products * self.count as u64);
            let times = |amount: Amount| Amount { units: amount.units * self.count as f64, ..amount };
            let estimate = chosen.estimate.map(times);
            Chosen { why: Some(why), products, estimate, ..chosen }
        })
    }

    /// Bytes of the arenas of all threads.
    pub fn bytes(&self) -> usize {
        self.threads.iter().map(|thread| lock(thread).arena.bytes().len()).sum()
    }

    /// Computes the value of the last call.
    pub fn run(&self, cpu: &Cpu, images: &[f32], arena: &mut [u8]) {
        self.run_all(cpu, images, arena, false);
    }

    /// Runs like [`Parts::run`] and returns the duration of each call: its time on all threads, divided by their number.
    pub fn run_timed(&self, cpu: &Cpu, images: &[f32], arena: &mut [u8]) -> Vec<Duration> {
        self.threads.iter().for_each(|thread| lock(thread).times.fill(Duration::ZERO));
        self.run_all(cpu, images, arena, true);
        let threads = self.threads.len() as u32;
        let time = |i: usize| self.threads.iter().map(|thread| lock(thread).times[i]).sum::<Duration>();
        (0..self.calls.len()).map(|i| time(i) / threads).collect()
    }

    fn run_all(&self, cpu: &Cpu, images: &[f32], arena: &mut [u8], timed: bool) {
        let (values, y) = Values::around(images, arena, &self.output);
        cpu.for_each_part(self.count, values.at(&self.input), y, |thread, x, y| {
            self.part(x, y, &mut self.free(thread), timed);
        });
    }

    /// An arena for a part: that of this thread. If there are more threads than parts, some share one; the others then
    /// compute fewer parts than there are arenas, and never more than one each.
    fn free<'a>(&'a self, thread: usize) -> MutexGuard<'a, Thread> {
        let count = self.threads.len();
        let mut arenas = (0..count).map(|i| &self.threads[(thread + i) % count]);
        let locked = |arena: &'a Mutex<Thread>| match arena.try_lock() {
            Ok(locked) => Some(locked),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        arenas.find_map(locked).expect("there is an arena for each part at a time")
    }

    /// Computes the part `y` of the last value from the part `x` of the first.
    fn part(&self, x: &[f32], y: &mut [f32], thread: &mut Thread, timed: bool) {
        let Thread { arena, times } = thread;
        let (last, others) = self.calls.split_last().expect("a span has operations");
        let mut time = |i: usize, run: &mut dyn FnMut()| {
            let start = timed.then(Instant::now);
            run();
            start.into_iter().for_each(|start| times[i] += start.elapsed());
        };
        let mut i = 0;
        while let Some(call) = others.get(i) {
            let arena = arena.bytes_mut();
            match &self.bands[i] {
                None => time(i, &mut || call.run(&self.cpu, x, arena)),
                Some(bands) => {
                    let calls = &others[i..i + bands.calls()];
                    bands.run(&self.cpu, calls, x, arena, &mut |call, run| time(i + call, run));
                    i += bands.calls() - 1;
                }
            }
            i += 1;
        }
        time(others.len(), &mut || last.write(&self.cpu, &Values::all(x, arena.bytes()), y));
    }
}

/// The memory of a thread, between runs.
fn lock(thread: &Mutex<Thread>) -> MutexGuard<'_, Thread> {
    // A part that panicked leaves valid, unspecified values.
    thread.lock().unwrap_or_else(PoisonError::into_inner)
}
