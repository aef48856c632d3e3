//! A tour of every technique and the choices that it offers, on a few built-in images: the point is the calls, not the
//! accuracies.
//!
//! ```sh
//! cargo run --release --example tour
//! ```

use lopper::prelude::*;

/// Images, and where to compute.
struct Place {
    data: Splits,
    device: Device,
}

impl Place {
    fn new() -> Result<Self> {
        let config = DataConfig { limit: Some(10), batch: 25, ..DataConfig::new(DataName::FashionMnist) };
        Ok(Self { data: config.open(1)?, device: Device::cpu() })
    }

    /// An untrained network, a quarter as wide as usual.
    fn network(&self, arch: &str) -> Result<Graph> {
        let options = BuildOptions::new(self.data.classes.clone(), self.data.val.image_shape());
        build(arch, &BuildOptions { width: 0.25, ..options })
    }

    /// Trains `graph` by `objective` for two epochs, with a callback if there is one.
    fn train(
        &mut self,
        graph: &mut Graph,
        objective: &mut dyn Objective,
        callback: Option<&mut dyn Callback>,
    ) -> Result<()> {
        let mut optimizer = Optimizer::new(OptimizerConfig::adamw(0.01));
        let mut trainer = Trainer::new(&self.device, &mut optimizer, objective).epochs(2).learning_rate(5e-3);
        if let Some(callback) = callback {
            trainer = trainer.callback(callback);
        }
        trainer.fit(graph, &mut self.data.train, None).map(drop)
    }

    /// The largest difference of the logits of two networks.
    fn difference(&mut self, a: &Graph, b: &Graph) -> Result<f32> {
        let images = self.data.val.epoch(0)?.next().expect("there are images")?.images;
        a.logits(&self.device, images.clone())?.max_difference(&b.logits(&self.device, images)?)
    }
}

/// A student learns from a teacher's soft targets, its logits, or the outputs of its layers.
fn distill(place: &mut Place) -> Result<()> {
    let mut teacher = place.network("resnet8")?;
    place.train(&mut teacher, &mut CrossEntropy::default(), None)?;
    let soft = DistillConfig { temperature: 4.0, weight: 0.7, ..DistillConfig::default() };
    let logits = DistillConfig { loss: DistillLoss::Logits, ..DistillConfig::default() };
    let hint = Hint { weight: 0.1, ..Hint::new("layer2.0.conv2", "layer2.0.conv2") };
    let hints = DistillConfig { hints: vec![hint], ..DistillConfig::default() };
    for (arch, config) in [("vgg8_bn", soft), ("vgg8_bn", logits), ("resnet8", hints)] {
        let mut student = place.network(arch)?;
        let image = student.info.input;
        let mut objective =
            Distillation::new(config.clone(), CrossEntropy::default(), &student, teacher.clone(), image)?;
        place.train(&mut student, &mut objective, None)?;
        let loss = evaluate(&student, &mut place.data.val, &place.device)?.loss;
        println!("distilled {arch} by {}, {} hints: loss {loss:.3}", config.loss, config.hints.len());
    }
    Ok(())
}

/// Half of the weights, kernels or filters fade to zero while the network trains.
fn sparsify_while_training(place: &mut Place) -> Result<()> {
    let own = SparsitySchedule::custom("square_root", f64::sqrt);
    let schedules = [SparsitySchedule::Linear, SparsitySchedule::Cosine, SparsitySchedule::Gradual, own];
    for granularity in [Granularity::WEIGHT, Granularity::KERNEL, Granularity::FILTER] {
        for context in [Context::Local, Context::Global] {
            for criterion in ["l1", "taylor"] {
                for schedule in &schedules {
                    let config = SparsifyConfig {
                        granularity,
                        context,
                        criterion: criterion.parse()?,
                        schedule: schedule.clone(),
                        ..SparsifyConfig::new(0.5)
                    };
                    let mut graph = place.network("vgg8_bn")?;
                    let mut sparsifier = Sparsifier::new(config.clone())?;
                    place.train(&mut graph, &mut CrossEntropy::default(), Some(&mut sparsifier))?;
                    let sparsity = 100.0 * Sparsity::measure(&graph, &config)?.of_groups();
                    println!("{sparsity:5.2} % of {granularity}s, {context}, {criterion}, {schedule}");
                    assert!((sparsity - 50.0).abs() < 2.0);
                }
            }
        }
    }
    Ok(())
}

/// Channels are removed from sequential and from residual networks: the dead ones exactly, or the worst by a criterion.
fn prune_channels(place: &mut Place) -> Result<()> {
    for arch in ["vgg8_bn", "resnet8"] {
        let mut graph = place.network(arch)?;
        let mut sparsifier = Sparsifier::new(SparsifyConfig::new(0.5))?;
        place.train(&mut graph, &mut CrossEntropy::default(), Some(&mut sparsifier))?;
        let exact = PruneConfig::default().apply(&graph, None)?.graph;
        let drop = PruneConfig { constants: Constants::Drop, ..PruneConfig::default() };
        let dropped = drop.apply(&graph, None)?.graph;
        let differences = [place.difference(&graph, &exact)?, place.difference(&graph, &dropped)?];
        println!(
            "{arch}: {} → {} parameters; logits differ by {:.1e}, or {:.1e} if constants are dropped",
            graph.param_count(),
            exact.param_count(),
            differences[0],
            differences[1]
        );
        assert!(differences[0] < 1e-3 && exact.param_count() < graph.param_count());
        // At once, without sparsification; a criterion that needs gradients measures them on images.
        let worst =
            PruneConfig { criterion: Some("taylor".parse()?), fraction: Some(0.25), ..Default::default() };
        let (sites, taylor) = (worst.sites(&exact)?, "taylor".parse()?);
        let evidence = Evidence::measure(&taylor, &exact, &sites, &mut place.data.train, 2, &place.device)?;
        let plan = worst.plan(&exact, Some(&evidence))?;
        print!("{plan}");
        let pruned = prune(&exact, &plan, Constants::Exact)?.graph;
        assert!(pruned.param_count() < exact.param_count());
    }
    Ok(())
}

/// Batch norms disappear into the convolutions around them; the function stays.
fn fold_batch_norms(place: &mut Place) -> Result<()> {
    let mut graph = place.network("resnet8")?;
    place.train(&mut graph, &mut CrossEntropy::default(), None)?;
    let folded = fold(&graph)?;
    print!("{}", folded.report);
    let difference = place.difference(&graph, &folded.graph)?;
    println!("logits differ by {difference:.1e}");
    assert!(difference < 1e-3);
    Ok(())
}

/// Linear layers split in two by singular value decomposition.
fn split_linear_layers(place: &mut Place) -> Result<()> {
    let graph = place.network("vgg8_bn")?;
    for percent in [25.0, 50.0, 75.0] {
        let config = FactorizeConfig { fraction: Some(percent / 100.0), ..FactorizeConfig::default() };
        let split = factorize(&graph, &config)?;
        let difference = place.difference(&graph, &split.graph)?;
        print!(
            "{percent} % of the singular values removed, logits differ by {difference:.2}: {}",
            split.report
        );
    }
    let most = FactorizeConfig { energy: Some(0.9), ..FactorizeConfig::default() };
    print!("at least 90 % of their energy kept: {}", factorize(&graph, &most)?.report);
    Ok(())
}

fn main() -> Result<()> {
    let mut place = Place::new()?;
    distill(&mut place)?;
    sparsify_while_training(&mut place)?;
    prune_channels(&mut place)?;
    fold_batch_norms(&mut place)?;
    split_linear_layers(&mut place)
}

#[test]
fn it_runs() {
    main().unwrap();
}
