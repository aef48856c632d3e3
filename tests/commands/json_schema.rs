//! Every command's `--json` output is what `docs/json.md` documents.

use crate::schema::Schema;
use lopper_kernels::cuda::Cuda;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn documented() -> Schema {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    Schema::parse(&std::fs::read_to_string(page).unwrap())
}

/// The standard output of `lopper ARGUMENTS --json` in `dir`.
fn json_of(dir: &Path, arguments: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lopper"));
    command.args(arguments.split_whitespace()).arg("--json").current_dir(dir);
    let output = command.output().expect("lopper starts");
    let error = String::from_utf8_lossy(&output.stderr);
    let fails = arguments.contains("missing.png");
    assert_eq!(output.status.success(), !fails, "lopper {arguments}: {error}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("lopper {arguments}: {e}"))
}

/// Writes a data set of two classes below `root`.
fn two_classes(root: &Path) {
    for folder in ["train/a", "train/b", "val/a", "val/b"].map(|name| root.join(name)) {
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["1.png", "2.png"] {
            image::RgbImage::new(8, 8).save(folder.join(name)).unwrap();
        }
    }
}

#[test]
fn outputs_have_the_documented_fields() {
    let (schema, dir) = (documented(), tempfile::tempdir().unwrap());
    let data = "--data fashion-mnist --limit 2 --batch 8";
    image::RgbImage::new(8, 8).save(dir.path().join("image.png")).unwrap();
    two_classes(&dir.path().join("folders"));
    let small = "--size 32 --seconds 0";
    let wanted = [
        ("Stages", format!("train --arch vgg8_bn --width 0.1 --epochs 1 --out a.safetensors {data}")),
        (
            "Stages",
            format!("distill a.safetensors --teacher a.safetensors --epochs 1 --out b.safetensors {data}"),
        ),
        (
            "Stages",
            "sparsify a.safetensors --sparsity 0.5 --granularity filter --epochs 0 --out s.safetensors"
                .into(),
        ),
        ("Stages", "prune s.safetensors --out p.safetensors".into()),
        ("Stages", "compact s.safetensors --out c.safetensors".into()),
        ("Stages", "fold a.safetensors --out f.safetensors".into()),
        ("Stages", "factorize a.safetensors --fraction 0.5 --out x.safetensors".into()),
        ("Evaluation", format!("eval a.safetensors {data}")),
        ("Evaluation", format!("eval a.safetensors {data} --metrics --tta 2")),
        ("Predictions", "predict a.safetensors image.png missing.png --top 3".into()),
        ("Learning rates", format!("lr-find --arch vgg8_bn --width 0.1 --steps 20 {data}")),
        (
            "Sensitivity",
            format!(
                "sensitivity a.safetensors --fractions 0.5 --ways prune,row,factorize --tolerance 100% --out prices {data}"
            ),
        ),
        ("Stages", "train --arch vgg8_bn --width 0.1 --epochs 1 --size 32 --batch 2 --data folders --out n.safetensors".into()),
        ("Synthesis", "synthesize n.safetensors --count 5 --batch 3 --steps 2 --out made".into()),
        ("Difference", "diff s.safetensors p.safetensors".into()),
        ("Summary", "summary s.safetensors".into()),
        ("Summary", "summary s.safetensors --groups".into()),
        ("Bench", format!("bench resnet8 {small}")),
        ("Bench", format!("bench resnet8 {small} --layers --fold --linear-weights bf16")),
        ("Bench", format!("bench s.safetensors {small} --layers")),
        ("Training step", format!("bench resnet8 {small} --training --batch 4 --layers")),
        ("Networks in turn", "bench a.safetensors --beside s.safetensors p.safetensors --size 32".into()),
        ("Sparse stages", format!("bench resnet8 {small} --stages")),
        ("Sparse stages", format!("bench s.safetensors {small} --stages")),
        ("Atlas", "atlas --layer 16x16@8:3 --layer 32x16 --batch 1 --sparsity 0,50,90 --seconds 0".into()),
        ("Written", "export a.safetensors --out w.safetensors".into()),
        ("Written", "import w.safetensors --arch a.safetensors --out i.safetensors".into()),
        ("Written", "export a.safetensors --out w.onnx".into()),
        ("Written", "export a.safetensors --out w.pth".into()),
        ("Written", "export a.safetensors --out v.onnx --external-data".into()),
        ("Written", "convert w.onnx w.py".into()),
        ("Completions", "completions fish".into()),
        ("Lists", "list".into()),
        ("Lists", "list schedules".into()),
    ];
    for (heading, arguments) in wanted {
        let found = schema.differences(heading, &json_of(dir.path(), &arguments));
        assert!(found.is_empty(), "lopper {arguments}:\n{}", found.join("\n"));
    }
}

#[test]
fn the_report_of_a_run_has_the_documented_fields() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = "seed = 2\ndata = { name = \"fashion-mnist\", limit = 2, batch = 8 }\n[[stage]]\nname = \"a\"\n\
                  arch = \"vgg8_bn\"\nwidth = 0.1\ntrain = { epochs = 1, learning_rate = 1e-3 }\n\
                  evaluate = { tta = [1], classes = [\"coat\"] }\nlr_find = { steps = 20 }\ncontrol = \"of nothing\"\n\
                  published = { top1 = 50, params = 3, note = \"x\" }\n[[stage]]\nname = \"b\"\n\
                  sparsify = { granularity = \"filter\", sparsity = 0.5 }\n\
                  train = { epochs = 1, learning_rate = 1e-3 }\n[[stage]]\nname = \"c\"\nprune = {}\n\
                  [[stage]]\nname = \"d\"\nfactorize = { fraction = 0.6 }\n\
                  [[stage]]\nname = \"e\"\nfrom = \"a\"\ntrain = { epochs = 2, learning_rate = 1e-3 }\n\
                  prune = { criterion = \"random\", fraction = 0.5, schedule = \"linear\" }\n\
                  [profile.quick]\nseed = 2\nstage.a.width = 0.2\n";
    std::fs::write(dir.path().join("r.toml"), recipe).unwrap();
    let printed = json_of(dir.path(), "run r.toml --out out");
    let again = json_of(dir.path(), "report out");
    let report = std::fs::read(dir.path().join("out/report.json")).unwrap();
    for value in [printed.clone(), again, serde_json::from_slice(&report).unwrap()] {
        let found = documented().differences("Stages", &value);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
    assert!(printed["stages"][0].get("details").is_none(), "details are in the file only");
}

#[test]
fn the_list_of_recipes_has_the_documented_fields() {
    let dir = tempfile::tempdir().unwrap();
    for entry in json_of(dir.path(), "recipes").as_array().unwrap() {
        let found = documented().differences("Recipes", entry);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
    assert!(json_of(dir.path(), "recipes small-net").is_string());
}

#[test]
fn schedules_have_the_documented_fields() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in
        ["schedule cosine iterative:3 --plot s.svg", "schedule one-cycle --learning-rate 0.1 --plot s.csv"]
    {
        for drawn in json_of(dir.path(), arguments).as_array().unwrap() {
            let found = documented().differences("Schedules", drawn);
            assert!(found.is_empty(), "{}", found.join("\n"));
        }
    }
    let cosine = json_of(dir.path(), "schedule cosine --epochs 5");
    let published = [0.0477, 0.1727, 0.3273, 0.4523, 0.5];
    for (found, expected) in cosine[0]["by_epoch"].as_array().unwrap().iter().zip(published) {
        assert!((found.as_f64().unwrap() - expected).abs() < 5e-5, "{cosine}");
    }
    assert!(std::fs::read_to_string(dir.path().join("s.svg")).unwrap().contains("</svg>"));
    let table = std::fs::read_to_string(dir.path().join("s.csv")).unwrap();
    assert!(table.starts_with("schedule,epoch,value\none-cycle,0.0,0.004\n"), "{table}");
}

#[test]
fn a_self_test_has_the_documented_fields() {
    if Cuda::for_tests().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for only in ["elementwise", "time-gemm"] {
        let report =
            json_of(dir.path(), &format!("selftest --device cuda-on-cpu --only {only} --out {only}.md"));
        let found = documented().differences("Self-test", &report);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

#[test]
fn differences_are_found() {
    let schema = documented();
    let good = json!({ "top1": 0.5, "interval": [0.25, 0.75], "loss": 1.0, "images": 4 });
    assert_eq!(schema.differences("Evaluation", &good), Vec::<String>::new());
    for (field, value, message) in [
        ("top1", json!("0.5"), "Evaluation.top1: expected number"),
        ("interval", json!(["a"]), "Evaluation.interval[]: expected number"),
        ("images", json!(0.5), "Evaluation.images: expected integer"),
        ("extra", json!(1), "Evaluation.extra: not documented"),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let found = schema.differences("Evaluation", &bad);
        assert!(found.len() == 1 && found[0].starts_with(message), "{found:?}");
    }
    let mut missing = good.clone();
    missing.as_object_mut().unwrap().remove("loss");
    assert_eq!(schema.differences("Evaluation", &missing), ["Evaluation.loss: missing"]);
    let stage = json!({ "stages": [{ "stage": 1 }] });
    assert!(
        schema
            .differences("Stages", &stage)
            .contains(&"Stages.stages[].stage: expected string, found 1".into())
    );
}
