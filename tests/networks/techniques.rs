//! What every technique of the table promises, checked on random networks: its sketch is like its result, it keeps the
//! function if it says so, and recipes read it. A technique of another crate takes part in a stage like a built-in one.

use crate::support::random_graph::{networks, relative_difference};
use lopper::recipe::{Recipe, Stage};
use lopper_compress::StageKeys;
use lopper_compress::techniques::{Applied, Kind, Role, Sketch, Technique};
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{About, Device, Graph, Result};
use lopper_models::{Options, build, numbered_classes};
use proptest::prelude::*;
use std::collections::HashSet;

/// A stage for each technique, without evidence that needs images.
const STAGES: [&str; 17] = [
    "prune = {}",
    "prune = { criterion = \"random\", fraction = 0.4 }",
    "prune = { criterion = \"random\", width = 0.6, constants = \"drop\" }",
    "prune = { criterion = \"random\", fraction = 0.4, context = \"local\", constants = \"drop\" }",
    "fold = {}",
    "factorize = { fraction = 0.3 }",
    "factorize = { error = 0.4, conv = \"auto\" }",
    "factorize = { vbmf = true, conv = \"tucker\" }",
    "share = { bits = 3 }",
    "share = { bits = 2 }\ntrain = { epochs = 1, learning_rate = 1e-3 }",
    "compact = {}",
    "sparsify = { sparsity = 0.5 }",
    "slim = { l1 = 1e-4 }\ntrain = { epochs = 1, learning_rate = 1e-3 }",
    "lottery = { fraction = 0.2, rewind = \"first\" }",
    "sparse_train = { sparsity = 0.8 }\ntrain = { epochs = 1, learning_rate = 1e-3 }",
    "regularize = { penalty = \"l1\", weight = 1e-4 }\ntrain = { epochs = 1, learning_rate = 1e-3 }",
    "teacher = \"first\"\ndistill = {}\ntrain = { epochs = 1, learning_rate = 1e-3 }",
];

/// Reads a recipe whose second stage consists of `keys`.
fn recipe(keys: &str) -> Result<Recipe> {
    let first = "[data]\nname = \"fashion-mnist\"\n[[stage]]\nname = \"first\"\narch = \"vgg8_bn\"\n";
    Recipe::parse(&format!("{first}[[stage]]\nname = \"second\"\n{keys}\n"))
}

fn stage(keys: &str) -> Stage {
    recipe(keys).unwrap_or_else(|e| panic!("{keys}: {e}")).stages.pop().unwrap()
}

/// The parameters of a network with their shapes.
fn shapes(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    graph.params().map(|(path, param)| (path, param.value().shape().to_vec())).collect()
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes().iter().map(|node| node.name.as_str()).collect()
}

#[test]
fn recipes_read_every_technique_of_the_table() {
    let read: HashSet<&str> = STAGES
        .iter()
        .flat_map(|keys| stage(keys).techniques)
        .map(|technique| technique.kind().name)
        .collect();
    let listed: HashSet<&str> = StageKeys::KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(read, listed);
    let keys: Vec<&str> = StageKeys::NAMES.iter().copied().flatten().copied().collect();
    assert_eq!(
        keys.iter().collect::<HashSet<_>>().len(),
        keys.len(),
        "two techniques read one key: {keys:?}"
    );
    for (kind, keys) in StageKeys::KINDS.iter().zip(StageKeys::NAMES) {
        assert_eq!(keys[0], kind.name);
        let unknown = recipe(&format!("{} = {{ nonsense = 1 }}", kind.name)).unwrap_err().to_string();
        let place = ["line 8", "^^^^^^^^", "unknown field `nonsense`"];
        assert!(place.iter().all(|part| unknown.contains(part)), "{unknown}");
    }
}

#[test]
fn a_stage_that_contradicts_itself_is_refused() {
    for (keys, complaint) in [
        ("nonsense = 1", "unknown field `nonsense`, expected one of `name`, `arch`, `width`, `head`, `from`"),
        ("nonsense = 1", "line 8, column 1"),
        ("fold = {}\ncompact = {}", "only one of prune, fold, factorize, compact and lottery is allowed"),
        ("prune = {}\nfold = {}", "only one of prune, fold, factorize, compact and lottery is allowed"),
        ("plan = { groups = [] }", "`plan`, `save_plan` and `save_scores` require `prune`"),
        ("save_plan = \"p\"", "`plan`, `save_plan` and `save_scores` require `prune`"),
        (
            "distill = {}\ntrain = { epochs = 1, learning_rate = 1e-3 }",
            "`distill` and `teacher` require each",
        ),
        ("teacher = \"first\"", "`distill` and `teacher` require each other"),
        ("teacher = \"first\"\ndistill = {}", "`distill` acts during training: add `train`"),
        (
            "",
            "expected something to do: arch, from, new_head, a rewrite, sparsify, slim, share, sparse_train, regularize or train",
        ),
        ("slim = { l1 = 1e-4 }", "`slim` acts during training: add `train`"),
        (
            "prune = { criterion = \"random\", fraction = 0.5, schedule = \"cosine\" }",
            "`prune` acts during training: add `train`",
        ),
    ] {
        let error = recipe(keys).unwrap_err().to_string();
        assert!(error.contains(complaint), "{keys}: {error}");
    }
}

#[test]
fn options_of_training_are_checked() {
    let train = |options: &str| recipe(&format!("train = {{ epochs = 1, learning_rate = 1e-3, {options} }}"));
    for (options, complaint) in [
        ("clip_norm = 0", "clip_norm: expected above 0, found 0"),
        ("groups = [{ lr_factor = 2 }]", "missing field `params`"),
        ("groups = [{ params = \"*\", factor = 2 }]", "unknown field `factor`"),
        (
            "groups = [{ params = \"*\", lr_factor = -1 }]",
            "group `*`: lr_factor: expected at least 0, found -1",
        ),
        ("groups = [{ params = \"*\", weight_decay = nan }]", "group `*`: weight_decay: expected at least 0"),
    ] {
        let error = train(options).unwrap_err().to_string();
        assert!(error.contains(complaint), "{options}: {error}");
    }
    assert!(train("clip_norm = 1, groups = [{ params = \"*\" }]").is_ok());
}

#[test]
fn a_summary_lists_rewrites_callbacks_and_objectives() {
    let keys = "distill = {}\nteacher = \"first\"\nsparsify = { sparsity = 0.5 }\nprune = {}\n\
                train = { epochs = 2, learning_rate = 1e-3 }";
    assert_eq!(stage(keys).summary(), "prune, sparsify, distill, 2 epochs");
}

/// A checkpoint is resumed only if the identity of its stage is unchanged.
#[test]
fn the_identity_of_a_stage_contains_all_that_bits_depend_on() {
    let identity = |keys: &str| stage(keys).identity();
    let train = |options: &str| identity(&format!("train = {{ epochs = 1, learning_rate = 1e-3{options} }}"));
    let group = |factor: &str| format!(", groups = [{{ params = \"*\", lr_factor = {factor} }}]");
    let different = [
        train(""),
        train(", clip_norm = 1.0"),
        train(&group("0.5")),
        train(&group("0.25")),
        train(", freeze = \"body\""),
        train(", freeze = [\"body\", \"head\"]"),
        train(", freeze = \"body\", unfreeze = [{ layers = \"body\", share = 0.5 }]"),
        train(", freeze = \"body\", unfreeze = [{ layers = \"body\", share = 0.25 }]"),
        identity("train = { epochs = 1, rates = { body = 1e-3, head = 1e-3 } }"),
        identity("train = { epochs = 1, rates = { body = 1e-3, head = 1e-2 } }"),
        identity("new_head = true"),
        identity("fold = {}"),
        identity("prune = {}"),
        identity("prune = { constants = \"drop\" }"),
        identity("prune = {}\nplan = { groups = [] }"),
        identity("sparsify = { sparsity = 0.5 }"),
        identity("sparsify = { sparsity = 0.25 }"),
        identity("prune = { criterion = \"random\", width = 0.5 }"),
        identity("prune = { criterion = \"random\", width = 0.5, relative_to = \"first\" }"),
    ];
    assert_eq!(different.iter().collect::<HashSet<_>>().len(), different.len());
    assert_eq!(identity("prune = {}\nsave_plan = \"p\""), identity("prune = {}"));
    let scored = "prune = { criterion = \"l1\", fraction = 0.5 }";
    assert_eq!(identity(&format!("{scored}\nsave_scores = \"s\"")), identity(scored));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn results_are_like_their_sketches_and_keep_the_function_if_claimed(net in networks()) {
        let graph = net.graph();
        let device = Device::cpu();
        for keys in STAGES {
            let stage = stage(keys);
            for technique in stage.rewrites() {
                let Ok(applied) = technique.apply(&graph, None) else { continue };
                let (before, after) = (&graph, &applied.rewrite.graph);
                let sketch = technique.rehearse(Sketch::known(graph.clone()), false, None).unwrap();
                if sketch.layers {
                    prop_assert_eq!(names(&sketch.graph), names(after), "{}", keys);
                }
                if sketch.layers && sketch.widths {
                    prop_assert_eq!(shapes(&sketch.graph), shapes(after), "{}", keys);
                }
                if technique.keeps_function() {
                    let logits = |graph: &Graph| graph.logits(&device, net.images(2)).unwrap();
                    let difference = relative_difference(&logits(before), &logits(after));
                    prop_assert!(difference <= 1e-4, "{}: {}", keys, difference);
                }
            }
        }
    }
}

/// How many channels a part of a layer's channels keeps depends on which ones go.
#[test]
fn a_sketch_does_not_claim_widths_behind_a_part_of_the_channels() {
    let options = Options { seed: Some(1), ..Options::new(numbered_classes(10), [32, 32, 3]) };
    for (arch, claimed) in [("vgg8_bn", true), ("shufflenet_v2_x0_5", false)] {
        let graph = build(arch, &options).unwrap();
        let keys =
            "prune = { criterion = \"random\", fraction = 0.4, context = \"local\", constants = \"drop\" }";
        for technique in stage(keys).rewrites() {
            let sketch = technique.rehearse(Sketch::known(graph.clone()), false, None).unwrap();
            assert_eq!(sketch.widths, claimed, "{arch}");
        }
    }
}

/// A technique that a user could write.
#[derive(Debug)]
struct Halve;

impl Technique for Halve {
    fn kind(&self) -> Kind {
        Kind { name: "halve", role: Role::Rewrite, about: About::common("half of the channels go") }
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn rehearse(&self, sketch: Sketch, _: bool, _: Option<&Sketch>) -> Result<Sketch> {
        Ok(sketch)
    }

    fn apply(&self, graph: &Graph, _: Option<&lopper_compress::criteria::Evidence>) -> Result<Applied> {
        let mut graph = graph.clone();
        graph.params_mut().for_each(|(_, param)| param.update(|w| w.iter_mut().for_each(|w| *w /= 2.0)));
        Ok(Rewrite { graph, report: RewriteReport::new("halve") }.into())
    }
}

#[test]
fn a_stage_holds_techniques_of_other_crates() {
    let stage = Stage::of(Halve, None).unwrap();
    assert_eq!((stage.summary(), stage.rewrites().count()), ("halve".to_string(), 1));
    assert!(stage.identity().contains("Halve"));
}
