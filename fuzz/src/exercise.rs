//! Everything that the command line does with a loaded model.

use lopper_compress::{PruneConfig, SparsifyConfig};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Error, Graph, Tensor, file, torchvision};
use std::path::Path;
use std::sync::LazyLock;

/// CPU device with one thread, so that findings depend only on the input.
static DEVICE: LazyLock<Device> = LazyLock::new(|| Device::open("cpu", Some(1)).expect("there is a CPU"));

/// Maximum number of values and multiply-accumulates of networks to run; larger ones take too long for a fuzzer.
const MOST_VALUES: usize = 1 << 18;
const MOST_PRODUCTS: u64 = 1 << 26;

/// Runs the loaded `graph`, writes it and reads it back, and does the same with each rewrite of it.
pub fn exercise(graph: &Graph, scratch: &Path) {
    let [h, w, c] = graph.info.input;
    let shapes = graph.shapes([1, h, w, c]).expect("what loads has shapes");
    let products: u64 =
        graph.costs(graph.info.input).expect("what loads has costs").iter().map(|cost| cost.macs).sum();
    let values = shapes.iter().map(|shape| shape.iter().product::<usize>()).fold(0, usize::saturating_add);
    if values > MOST_VALUES || products > MOST_PRODUCTS {
        // Still creates its plan, which may be refused for its size.
        let _ = Plan::new(graph, [1, h, w, c], &DEVICE);
        return;
    }
    runs_and_is_written(graph, scratch);
    let image =
        Tensor::from_vec(&[1, h, w, c], vec![0.5; h * w * c]).expect("as many values as the shape has");
    let _ = graph.logits(&DEVICE, image);
    for rewrite in [
        lopper_compress::fold(graph),
        PruneConfig::default().apply(graph, None),
        lopper_compress::compact(graph, &toml::from_str("").expect("all options have defaults")),
        lopper_compress::factorize(graph, &toml::from_str("fraction = 0.5").expect("an option")),
        lopper_compress::sparsify(graph, &SparsifyConfig::new(0.5), None),
    ]
    .into_iter()
    .flatten()
    {
        let _ = rewrite.report.to_string();
        // Products of finite weights may overflow: writing such a network is refused.
        if file::save(&rewrite.graph, scratch).is_ok() {
            runs_and_is_written(&rewrite.graph, scratch);
        }
    }
    let _ = torchvision::export_weights(graph, scratch);
}

fn runs_and_is_written(graph: &Graph, scratch: &Path) {
    let [h, w, c] = graph.info.input;
    let mut plan = match Plan::new(graph, [1, h, w, c], &DEVICE) {
        // Even with few values, weights or buffers may be large.
        Err(Error::Memory { .. }) => return,
        plan => plan.expect("a small network has a plan"),
    };
    plan.run(&vec![0.5; h * w * c]).expect("a plan runs");
    file::save(graph, scratch).expect("what loads can be written");
    let again = file::load(scratch).expect("what was written loads");
    let text = |graph: &Graph| serde_json::to_string(graph).expect("a graph is JSON");
    assert_eq!(text(graph), text(&again), "the graph survives writing and reading");
}
