//! A network of your own: built layer by layer, trained, timed and stored.
//!
//! ```sh
//! cargo run --release --example custom_network
//! ```

use lopper::prelude::*;
use std::time::{Duration, Instant};

/// A residual network whose blocks are separable: a depthwise convolution, then a pointwise one.
fn network(classes: &[String]) -> Result<Graph> {
    let mut net = Builder::new([32, 32, 3], Some(1));
    net.conv("stem", Conv::same(16, 3).stride(2)).batch_norm("stem_bn").relu("stem_relu");
    for block in 0..2 {
        let shortcut = net.at();
        net.within(format!("block{block}"), |net| {
            let width = net.channels();
            net.conv("depthwise", Conv::same(width, 3).groups(width)).batch_norm("bn1").relu("relu1");
            net.conv("pointwise", Conv::new(width, 1)).batch_norm("bn2").add("add", shortcut).relu("relu2");
        });
    }
    net.max_pool("pool", 2, 2, 0).conv("widen", Conv::same(32, 3)).batch_norm("widen_bn");
    net.activation("silu", Activation::Silu);
    net.adaptive_avg_pool("mean", 1).flatten("flatten").linear("fc", classes.len());
    net.finish()
}

fn main() -> Result<()> {
    let device = Device::cpu();
    let mut data = DataConfig { limit: Some(60), ..DataConfig::new(DataName::FashionMnist) }.open(1)?;
    let mut graph = network(&data.classes)?;
    // The file will say how images are prepared, and what its classes are called.
    data.record(&mut graph.info);
    println!("{} layers, {} parameters", graph.nodes().len(), graph.param_count());

    let mut optimizer = Optimizer::new(OptimizerConfig::adamw(0.01)).without_vector_decay();
    let mut loss = CrossEntropy { smoothing: 0.1 };
    let epochs = Trainer::new(&device, &mut optimizer, &mut loss).epochs(4).learning_rate(1e-2).fit(
        &mut graph,
        &mut data.train,
        Some(&mut data.val),
    )?;
    for epoch in &epochs {
        let top1 = epoch.val.map_or(f64::NAN, |accuracy| 100.0 * accuracy.top1());
        println!("epoch {}: loss {:.3}, top-1 {top1:.1} %", epoch.number(), epoch.train_loss);
    }
    assert!(epochs[3].train_loss < epochs[0].train_loss);

    // A residual network like any other: half of each layer's filters go, and the shortcuts stay in step.
    let pruning = PruneConfig {
        criterion: Some("l1".parse()?),
        fraction: Some(0.5),
        context: Context::Local,
        ..PruneConfig::default()
    };
    let pruned = pruning.apply(&graph, None)?;
    print!("{}", pruned.report);

    for (name, graph) in [("trained", &graph), ("pruned", &pruned.graph)] {
        let mut plan = Plan::new(graph, [1, 32, 32, 3], &device)?;
        let image = vec![0.5; 32 * 32 * 3];
        plan.run(&image)?;
        let mut fastest = Duration::MAX;
        for _ in 0..50 {
            let start = Instant::now();
            plan.run(&image)?;
            fastest = fastest.min(start.elapsed());
        }
        println!("{name}: {} parameters, {fastest:.1?} an image", graph.param_count());
    }

    // The file holds the graph, so that it loads without the code above.
    let directory =
        tempfile::tempdir().map_err(|e| Error::invalid(format!("no temporary directory: {e}")))?;
    let path = directory.path().join("separable.safetensors");
    file::save(&pruned.graph, &path)?;
    let loaded = file::load(&path)?;
    assert_eq!(loaded.param_count(), pruned.graph.param_count());
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
