//! A criterion of your own, while a network trains: which filters may go, by the Fisher information of their weights.
//!
//! ```sh
//! cargo run --release --example custom_criterion
//! ```

use lopper::prelude::*;

/// `E[(Σ w·∂L/∂w)²]` over the group, the mean over training steps: how much the loss depends on the group as a whole
/// (Theis et al. 2018, "Faster gaze prediction with dense networks and Fisher pruning").
#[derive(Debug)]
struct Fisher;

impl Score for Fisher {
    fn name(&self) -> &str {
        "fisher"
    }

    /// Of weights that are not dropped: a dropped one is zero, and so is its term.
    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let (weight, gradient) = (step.weight(), step.gradient()?);
        let sums = Reduction::Sum.of(step.groups(), |i| f64::from(weight[i]) * f64::from(gradient[i]));
        Ok(sums.into_iter().map(|sum| sum * sum).collect())
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed()?.iter().map(|&mean| mean as f32).collect())
    }
}

fn main() -> Result<()> {
    let device = Device::cpu();
    let config = DataConfig { limit: Some(60), ..DataConfig::new(DataName::FashionMnist) };
    // A random choice is the control: trained in the same way, it shows what the criterion adds.
    for criterion in [Fisher.into(), "random".parse::<Criterion>()?] {
        let mut data = config.open(1)?;
        let options =
            BuildOptions { width: 0.25, ..BuildOptions::new(data.classes.clone(), data.val.image_shape()) };
        let mut graph = build("resnet8", &options)?;
        let sparsity =
            SparsifyConfig { criterion: criterion.clone(), start: 0.3, end: 0.7, ..SparsifyConfig::new(0.5) };
        let mut sparsifier = Sparsifier::new(sparsity.clone())?;
        let mut optimizer = Optimizer::new(OptimizerConfig::adamw(0.01));
        Trainer::new(&device, &mut optimizer, &mut CrossEntropy::default())
            .epochs(6)
            .learning_rate(5e-3)
            .callback(&mut sparsifier)
            .fit(&mut graph, &mut data.train, None)?;
        let measured = Sparsity::measure(&graph, &sparsity)?;
        assert!((measured.of_groups() - 0.5).abs() < 0.02, "{measured}");

        // What was dropped is removed without changing the function.
        let pruned = PruneConfig::default().apply(&graph, None)?.graph;
        let [before, after] = [&graph, &pruned].map(|graph| evaluate(graph, &mut data.val, &device));
        let (before, after) = (before?, after?);
        println!(
            "{criterion}: {:.1} % of filters dropped, {} → {} parameters, top-1 {:.1} %",
            100.0 * measured.of_groups(),
            graph.param_count(),
            pruned.param_count(),
            100.0 * after.accuracy.top1()
        );
        assert!((before.loss - after.loss).abs() < 1e-3);
    }
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
