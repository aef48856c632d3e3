//! Options of transfer learning that contradict each other or the network.

use crate::support::command::{image_folder, lopper, model, text};
use lopper::recipe::Recipe;
use lopper_engine::train::When;

#[test]
fn contradictions_are_refused() {
    let (dir, data) = (tempfile::tempdir().unwrap(), image_folder());
    let out = dir.path().join("m.safetensors");
    let images = ["--data", text(data.path()), "--size", "32", "--batch", "8"];
    let train = |more: &[&str]| {
        let args = ["train", "--arch", "vgg8_bn", "--width", "0.1", "--epochs", "2", "--out", text(&out)];
        lopper(&[&args[..], &images, more].concat())
    };
    for (more, words) in [
        (&["--new-head"][..], "cannot be used with"),
        (&["--rates", "body=1", "--learning-rate", "1"], "--learning-rate"),
        (&["--rates", "body=fast"], "expected a rate, FIRST..LAST"),
        (&["--rates", "head=1e-3"], "rates: layer `features.0` has none: add `body`"),
        (&["--unfreeze", "body@2"], "--freeze"),
        (&["--freeze", "body", "--unfreeze", "body@1"], "expected an epoch from 2 on"),
        (&["--freeze", "body", "--unfreeze", "body@3"], "expected an epoch up to 2"),
        (&["--freeze", "body", "--unfreeze", "features.0@80%,body@2"], "expected the order of time"),
        (&["--freeze", "nothing"], "freeze: `nothing`: the network has no such layer"),
    ] {
        train(more).refused(&[words]);
    }
    let model = model(dir.path(), data.path());
    let further = ["train", "--model", text(&model), "--out", text(&out), "--head", "fastai"];
    lopper(&[&further[..], &images].concat()).refused(&["--new-head"]);
    let sparsify = [
        "sparsify",
        text(&model),
        "--sparsity",
        "0.5",
        "--epochs",
        "1",
        "--freeze",
        "body",
        "--out",
        text(&out),
    ];
    lopper(&[&sparsify[..], &images].concat()).failed_naming(&["`freeze`: `sparsify` acts during training"]);
    let prune = ["prune", text(&model), "--freeze", "body", "--out", text(&out)];
    lopper(&prune).failed_naming(&["--freeze applies to training only"]);
    assert!(!out.exists());
}

#[test]
fn contradictions_in_recipes_are_named() {
    let parse = |stage: &str| {
        let text = format!("data = {{ name = \"fashion-mnist\" }}\n[[stage]]\nname = \"a\"\n{stage}");
        Recipe::parse(&text)
    };
    let arch = "arch = \"vgg8_bn\"\n";
    for (stage, words) in [
        ("train = { epochs = 1 }", "expected `learning_rate`, or `rates` by layer, found neither"),
        ("train = { epochs = 1, learning_rate = 1, rates = { body = 1 } }", "`rates` takes its place"),
        (
            "train = { epochs = 1, rates = { body = 1 }, groups = [{ params = \"*\", lr_factor = 2 }] }",
            "`lr_factor` of a group",
        ),
        ("train = { epochs = 1, rates = { body = \"x\" } }", "expected a rate, [first, last]"),
        ("train = { epochs = 1, learning_rate = 1, freeze = 3 }", "expected `body`, `head`, a pattern"),
        (
            "train = { epochs = 3, learning_rate = 1, unfreeze = [{ layers = \"body\", epoch = 2 }] }",
            "nothing is frozen",
        ),
        ("new_head = true", "the head of `arch` is new"),
    ] {
        let message = parse(&format!("{arch}{stage}")).unwrap_err().to_string();
        assert!(message.contains(words), "{stage}: {message}");
    }
    let head = parse("from = \"Cargo.toml\"\nhead = \"fastai\"").unwrap_err().to_string();
    assert!(head.contains("`head` requires `arch` or `new_head = true`"), "{head}");
    // A trial keeps the order of freezing.
    let train = "train = { epochs = 4, learning_rate = 1, freeze = [\"body\"], unfreeze = [{ layers = \"body\", epoch = 3 }] }";
    let quick = parse(&format!("{arch}{train}")).unwrap().quick();
    let train = quick.stages[0].train.as_ref().unwrap();
    train.check().unwrap();
    assert_eq!(train.unfreeze[0].when, When::Share(0.5));
}
