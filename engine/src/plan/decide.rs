//! Algorithms, layouts and spans: what a plan on the CPU decides before it packs weights.
//!
//! ```text
//!   algorithms for the batch ─► spans on one thread ─► algorithms for their parts ─► spans on all threads
//!                               how many images a      chosen again                  only when each part runs
//!                               kernel gets at a time
//! ```
//!
//! An algorithm that suits a batch may not suit a part of it: fewer images fill fewer tiles, but their values stay in the
//! cache. The first spans depend on shapes and zeros only, so that the algorithms, and with them the bits, are the same
//! for any number of threads and for any [`Parts`].

use super::chains;
use super::cpu::Packer;
use super::layouts::Layouts;
use super::lower::Op;
use super::spans::{self, Parts, Span};
use super::work::Work;

/// Chooses the layouts and the spans of `works`, the work of `ops`, for a batch of `batch` images. Each work is left with
/// the number of images that its algorithm was chosen for.
pub(super) fn decide(
    packer: &Packer,
    (ops, works): (&[Op], &mut [Work]),
    batch: usize,
    parts: Parts,
) -> (Layouts, Vec<Span>) {
    let Packer { cpu, conv2d, .. } = *packer;
    let mut layouts = chains::choose(cpu, conv2d, ops, works);
    let on_one_thread = spans::choose(&cpu.alone(), (ops, &*works), &layouts, batch, Parts::Fastest);
    if !on_one_thread.is_empty() {
        for span in &on_one_thread {
            works[span.ops.clone()].iter_mut().for_each(|work| work.choose_for(span.images));
        }
        layouts = chains::choose(cpu, conv2d, ops, works);
    }
    let spans = spans::choose(cpu, (ops, &*works), &layouts, batch, parts);
    (layouts, spans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layer::Conv2d;
    use crate::plan::lower::lower;
    use crate::plan::places::Places;
    use crate::plan::work::Convolution;
    use crate::{Graph, Layer, Param, Tensor};
    use lopper_kernels::cpu::{Algorithm, Cpu, Packing, Weights};
    use lopper_kernels::params::Dtype;

    fn conv(c: usize) -> Layer {
        Layer::Conv2d(Conv2d {
            weight: Param::new(Tensor::full(&[c, 3, 3, c], 0.1)),
            bias: None,
            stride: [1; 2],
            padding: [1; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        })
    }

    /// The images that each convolution of three is planned for, by the number of threads and the parts.
    fn images(input: [usize; 4], threads: usize, parts: Parts) -> Vec<usize> {
        let mut graph = Graph::new(input[3]);
        let a = graph.push("a", conv(input[3]), &[0]).unwrap();
        let b = graph.push("b", conv(input[3]), &[a]).unwrap();
        graph.push("c", conv(input[3]), &[b]).unwrap();
        let (cpu, ops) = (Cpu::detect().threads(threads), lower(&graph, input).unwrap());
        let conv2d = Packing::Fastest(Weights::Cache);
        let layouts = Layouts::channels_last(&ops, Packing::By(Algorithm::Direct));
        let places = Places::new(&ops, &layouts, input, Dtype::F32, 64);
        let mut works: Vec<Work> = ops.iter().map(|op| Work::of(op, &places.lens(op)).unwrap()).collect();
        let packer = Packer { cpu: &cpu, conv2d, linear: Dtype::F32 };
        decide(&packer, (&ops, &mut works), input[0], parts);
        let images = |work: &Work| match work {
            Work::Conv2d(Convolution { images, .. }) => *images,
            _ => panic!("every operation is a convolution"),
        };
        works.iter().map(images).collect()
    }

    #[test]
    fn algorithms_are_chosen_for_the_parts_of_one_thread() {
        let large = [16, 64, 64, 64];
        let chosen = images(large, 1, Parts::Fastest);
        assert!(chosen.iter().all(|&images| images < 16), "{chosen:?}");
        for threads in [2, 3, 64] {
            for parts in [Parts::Fastest, Parts::Whole, Parts::Of(2)] {
                assert_eq!(images(large, threads, parts), chosen, "{threads} threads, {parts:?}");
            }
        }
        assert_eq!(images([4, 4, 4, 8], 1, Parts::Fastest), [4; 3], "values of the batch stay in the cache");
        assert_eq!(images([1, 64, 64, 64], 1, Parts::Fastest), [1; 3]);
    }
}
