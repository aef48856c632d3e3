//! Options of distillation that fit neither each other nor the networks.

use super::support::{Chain, linear};
use super::{IMAGE, TASK, hint, networks};
use lopper_compress::distill::*;

#[test]
fn what_does_not_fit_is_refused() {
    let (student, teacher) = networks();
    let refused = |config: DistillConfig, teachers: usize| {
        let teachers = vec![(teacher.clone(), 1.0); teachers];
        Distillation::of_teachers(config, TASK, &student, teachers, IMAGE).unwrap_err().to_string()
    };
    let base = DistillConfig::default;
    let at = |student: &str, teacher: &str, loss| DistillConfig {
        hints: vec![Hint { loss, ..Hint::new(student, teacher) }],
        ..base()
    };
    for (config, teachers, words) in [
        (base(), 0, "needs a teacher, or branches"),
        (
            DistillConfig { mutual: true, ..base() },
            2,
            "mutual: expected one network that learns, too, found 2",
        ),
        (DistillConfig { loss: DistillLoss::None, ..base() }, 1, "expected hints or features"),
        (DistillConfig { cache: 1, ..hint(FeatureLoss::Mse) }, 1, "cache: it holds logits"),
        (DistillConfig { cache: 1, mutual: true, ..base() }, 1, "cache: a teacher that is trained"),
        (DistillConfig { mutual: true, ..hint(FeatureLoss::Mse) }, 1, "mutual"),
        (DistillConfig { branches: vec!["nowhere".into()], ..base() }, 1, "branches"),
        (DistillConfig { alpha: Some(2.0), ..base() }, 1, "alpha: soft_targets has none"),
        (DistillConfig { power: 0.5, ..base() }, 1, "power: expected at least 1"),
        (DistillConfig { bank: 0, ..base() }, 1, "bank: expected 1 to 1048576, found 0"),
        (DistillConfig { embedding: 1 << 20, ..base() }, 1, "embedding: expected 1 to 16384"),
        (DistillConfig { initial_weight: 0.5, ..base() }, 1, "expected a schedule beside them"),
        (at("pool", "wide", FeatureLoss::Mse), 1, "one resolution"),
        (
            at("body.bn2", "wide", FeatureLoss::Ofd),
            1,
            "expected a batch norm, or a sum with one, found `wide`",
        ),
        (at("fc1", "fc", FeatureLoss::Attention), 1, "attention compares feature maps"),
        (at("flatten", "flatten", FeatureLoss::Cwd), 1, "cwd compares feature maps"),
    ] {
        let error = refused(config, teachers);
        assert!(error.contains(words), "{words}: {error}");
    }
    let forced = Hint { adapter: Some(true), loss: FeatureLoss::Pkt, ..Hint::new("fc1", "fc") };
    let error = refused(DistillConfig { hints: vec![forced.clone()], ..base() }, 1);
    assert!(error.contains("pkt compares networks of any widths"), "{error}");
    let heads = Hint { loss: FeatureLoss::Crd, adapter: Some(false), ..forced };
    let error = refused(DistillConfig { hints: vec![heads], ..base() }, 1);
    assert!(error.contains("crd compares embeddings by heads of its own"), "{error}");
    let flat =
        Chain::new(2).then("flatten", lopper_engine::Layer::Flatten).then("fc", linear(3, 32, 1)).graph;
    let features = vec![Features { loss: FeatureLoss::Attention, weight: 1.0 }];
    let error = Distillation::new(DistillConfig { features, ..base() }, TASK, &flat, teacher.clone(), IMAGE);
    assert!(error.unwrap_err().to_string().contains("share no resolution"));
}
