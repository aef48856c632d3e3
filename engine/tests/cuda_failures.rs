//! A GPU that has too little memory or is lost: the error names the layer, and nothing stays allocated. A single test,
//! because each process has only one emulated device.

mod support;

use lopper_engine::train::{CrossEntropy, gradients};
use lopper_engine::{Device, Error, Graph, Tape, Tensor};
use lopper_kernels::cuda::{CudaError, emulator};
use support::colors::{Colors, SGD, network, train};
use support::cuda_on_cpu;

/// Computes the loss and gradients of a step on one batch of the task.
fn step(graph: &mut Graph, device: &Device) -> lopper_engine::Result<f32> {
    use lopper_engine::data::Batches;
    let batch = Colors::new(1).epoch(0)?.next().expect("a batch")?;
    gradients(graph, &mut CrossEntropy::default(), &batch, Tape::new(device)).map(|(loss, _)| loss)
}

#[test]
fn failures_are_errors_and_free_what_they_had() {
    let Some(device) = cuda_on_cpu() else { return };
    assert_eq!(emulator::allocated(), 0);
    let plenty = 8 << 30;

    // Memory for an increasing part of a step: each shortage is an error of a layer or the input, and frees everything.
    let mut layers = Vec::new();
    let mut enough = false;
    for kilobytes in (0..400).step_by(8) {
        emulator::set_capacity(kilobytes << 10);
        match step(&mut network(), &device) {
            Ok(loss) => {
                assert!(loss.is_finite());
                enough = true;
            }
            Err(error) => {
                let message = error.to_string();
                assert!(!enough, "{kilobytes} KiB are too few, though fewer were enough: {message}");
                assert!(
                    message.contains("out of memory") && message.contains("bytes requested"),
                    "{message}"
                );
                layers.push(message);
            }
        }
        assert_eq!(emulator::allocated(), 0, "after {kilobytes} KiB");
    }
    assert!(enough);
    let forward = "layer `conv1`: conv2d of [[12, 6, 6, 3]]: out of memory on";
    assert!(layers[0].starts_with(forward), "{}", layers[0]);
    assert!(layers.iter().any(|message| message.contains("back from [12, ")), "{layers:?}");

    // The device is lost after an increasing number of calls: either an error or a complete run, never a NaN weight.
    emulator::set_capacity(plenty);
    let mut lost = 0;
    for calls in (0..2000).step_by(97) {
        let mut graph = network();
        emulator::lose_device_after(calls);
        let result = train(&mut graph, &mut Colors::new(1), 1, SGD, &device, vec![]);
        lost += usize::from(result.is_err());
        let finite = |t: &Tensor| t.data().iter().all(|v| v.is_finite());
        match result {
            Ok(history) => {
                assert!(history[0].train_loss.is_finite() && graph.params().all(|(_, p)| finite(p.value())));
            }
            Err(Error::Cuda(e)) => assert!(matches!(e, CudaError::Driver { .. }), "{e}"),
            Err(error) => assert!(error.to_string().contains("lost"), "{error}"),
        }
        drop(graph);
        emulator::recover();
        assert_eq!(emulator::allocated(), 0, "lost after {calls} calls");
    }
    assert!(lost > 2, "{lost}");
    assert!(step(&mut network(), &device).unwrap().is_finite(), "the device works again");
}
