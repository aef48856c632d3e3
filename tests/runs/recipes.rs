//! The language of recipes, and the recipes of the program, each from beginning to end in its smallest form.

use crate::support::command::{image_folder, lopper, text, train};
use crate::support::recipe::{HEAD, report, run};
use lopper::recipe::{BUILTIN, FULL, QUICK, Recipe};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_recipe_of_the_program_is_valid_in_every_profile() {
    for recipe in BUILTIN {
        let profiles = Recipe::profiles(recipe.text).unwrap();
        assert!(
            [QUICK, FULL].iter().all(|profile| profiles.contains(&profile.to_string())),
            "{}",
            recipe.name
        );
        for profile in profiles {
            let read = Recipe::parse_profile(recipe.text, Some(&profile));
            let read = read.unwrap_or_else(|e| panic!("{}, {profile}: {e}", recipe.name));
            assert_eq!(read.profile, profile);
            assert_eq!(read.scaling().is_empty(), profile == FULL, "{}: {}", recipe.name, read.scaling());
            // A handful of images says nothing about a network.
            assert_eq!(read.data.limit, None, "{}", recipe.name);
        }
        assert!(recipe.about().len() > 40, "{}", recipe.name);
    }
}

#[test]
fn recipes_are_listed_and_printed() {
    let listed = lopper(&["recipes"]).succeeded().out;
    assert!(listed.lines().all(|line| line.chars().count() <= 80), "{listed}");
    for recipe in BUILTIN {
        assert!(
            listed.contains(&format!("{} (", recipe.name)) && listed.contains("quick, full)"),
            "{listed}"
        );
        assert_eq!(lopper(&["recipes", recipe.name]).succeeded().out, recipe.text);
        let file = format!("recipes/{}.toml", recipe.name);
        assert_eq!(fs::read_to_string(file).unwrap(), recipe.text);
    }
    lopper(&["recipes", "nosuch"]).failed_naming(&["no built-in recipe `nosuch`", "small-net"]);
    lopper(&["run", "nosuch"]).failed_naming(&["neither a built-in recipe (small-net", "nor a file"]);
    lopper(&["run", "nosuch.toml"]).failed_naming(&["nosuch.toml", "No such file"]);
}

/// Smaller networks in place of those of the recipes, shorter range tests, and targets that need no clock.
const SMALLER: [(&str, &str); 5] = [
    ("target = { latency = \"0.5x\", batch = 16 }", "target = { macs = \"0.5x\" }"),
    ("arch = \"resnet34\"", "arch = \"resnet8\"\nwidth = 0.125"),
    ("arch = \"resnet18\"", "arch = \"resnet8\"\nwidth = 0.125"),
    ("arch = \"vgg16_bn\"", "arch = \"vgg8_bn\"\nwidth = 0.25"),
    ("lr_find = {}", "lr_find = { steps = 20 }"),
];

/// Images of two classes, arranged both as a folder and as GTSRB, with tracks long enough to hold one out.
fn images() -> tempfile::TempDir {
    let dir = image_folder();
    let picture = |class: u32, i: u32| {
        image::RgbImage::from_pixel(12, 10, image::Rgb([(40 + 160 * class) as u8, i as u8, 90]))
    };
    for class in [0u32, 1] {
        let folder = dir.path().join(format!("Final_Training/Images/{class:05}"));
        fs::create_dir_all(&folder).unwrap();
        (0..150).for_each(|i| picture(class, i).save(folder.join(format!("{i:05}.png"))).unwrap());
    }
    let test = dir.path().join("Final_Test/Images");
    fs::create_dir_all(&test).unwrap();
    (0..6).for_each(|i| picture(i % 2, i).save(test.join(format!("{i}.png"))).unwrap());
    let rows: Vec<String> = (0..6).map(|i| format!("{i}.png;{}", i % 2)).collect();
    let table = format!("Filename;ClassId\n{}\n", rows.join("\n"));
    fs::write(dir.path().join("Final_Test/GT-final_test.csv"), table).unwrap();
    dir
}

/// Each recipe of the program on pictures of two classes, in seconds.
#[test]
fn every_recipe_of_the_program_runs_to_its_end() {
    let data = images();
    let teacher = data.path().join("teacher.safetensors");
    train(data.path(), &teacher, &[]).succeeded();
    for recipe in BUILTIN {
        let out = tempfile::tempdir().unwrap();
        let built_in = Recipe::parse(recipe.text).unwrap().data.path.is_none()
            && ["readme", "study"].contains(&recipe.name);
        let folder = if built_in { Vec::new() } else { vec!["--data", text(data.path())] };
        let smaller = SMALLER.iter().fold(recipe.text.to_string(), |text, (from, to)| text.replace(from, to));
        let smaller = smaller.replace("efficientnet_lite0.safetensors", text(&teacher));
        let file = out.path().join(format!("{}.toml", recipe.name));
        fs::write(&file, &smaller).unwrap();
        let named = if smaller == recipe.text { recipe.name } else { text(&file) };
        let small = ["run", named, "--quick", "--limit", "4", "--batch", "4", "--size", "32"];
        let place = ["--out", text(out.path())];
        let run = lopper(&[&small[..], &folder, &place].concat()).succeeded();
        let report: Value =
            serde_json::from_slice(&fs::read(out.path().join("report.json")).unwrap()).unwrap();
        let parsed = Recipe::parse(recipe.text).unwrap();
        assert_eq!(report["stages"].as_array().unwrap().len(), parsed.stages.len());
        assert_eq!(report["run"]["profile"], QUICK);
        assert!(run.err.contains("scaled down"), "{}", run.err);
        for (stage, row) in parsed.stages.iter().zip(report["stages"].as_array().unwrap()) {
            let published = &row["findings"]["published"];
            assert_eq!(published.is_null(), stage.reporting.published.is_none(), "{row}");
        }
        if parsed.stages.iter().any(|stage| stage.reporting.published.is_some()) {
            assert!(run.out.contains("published against ours"), "{}", run.out);
        }
    }
}

#[test]
fn a_profile_is_applied_printed_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = format!(
        "{HEAD}train = {{ epochs = 3, learning_rate = 1e-3 }}\n[profile.quick]\nstage.a.train.epochs = 1\n\
         [profile.mid.data]\nbatch = 4\n"
    );
    let quick = run(dir.path(), &recipe, &[]).succeeded();
    assert!(
        quick.err.contains("profile quick, scaled down (--profile full runs all of it): epochs 3 → 1 (a)")
    );
    assert!(quick.out.contains("scaled down from the full recipe: epochs 3 → 1 (a)."), "{}", quick.out);
    assert!(fs::read_to_string(dir.path().join("out/report.md")).unwrap().contains("epochs 3 → 1 (a)."));
    let change = &report(dir.path())["run"]["scaled_down"][0];
    assert_eq!(
        [&change["stage"], &change["key"], &change["full"], &change["here"]],
        ["a", "epochs", "3", "1"]
    );
    let mid = run(dir.path(), &recipe, &["--force", "--profile", "mid", "--limit", "2"]).succeeded();
    assert!(mid.err.contains("profile mid") && mid.err.contains(": batch 8 → 4, limit 4 → 2"), "{}", mid.err);
    let full = run(dir.path(), &recipe, &["--force", "--profile", "full"]).succeeded();
    assert!(!full.err.contains("scaled down") && full.err.contains("epoch 3/3"), "{}", full.err);
    assert_eq!(report(dir.path())["run"]["scaled_down"], Value::Array(Vec::new()));
}

#[test]
fn errors_of_a_profile_name_file_profile_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |profile: &str, words: &[&str]| {
        let recipe =
            format!("{HEAD}train = {{ epochs = 3, learning_rate = 1e-3 }}\n[profile.quick]\n{profile}\n");
        run(dir.path(), &recipe, &[]).failed_naming(&[&["recipe.toml: "], words].concat());
        // The recipe itself is in order.
        Recipe::parse_profile(&recipe, Some(FULL)).unwrap();
    };
    refused("stage.b.fold = {}", &["profile.quick.stage.b: no such stage, only a"]);
    refused("stage.a.train.epoks = 2", &["profile.quick.stage.a.train.epoks: unknown field `epoks`"]);
    refused("seed = 2\ndata.size = \"x\"", &["profile.quick.data.size: invalid type"]);
    refused("stage.a.train.epochs = 0", &["profile `quick`: stage `a`: epochs: expected 1 to"]);
    refused("stage.a.colour = 0", &["profile.quick.stage.a.colour: unknown field `colour`"]);
    let recipe = format!("{HEAD}train = {{ epochs = 1, learning_rate = 1e-3 }}\n");
    run(dir.path(), &recipe, &["--profile", "quick"])
        .failed_naming(&["profile: expected full, found `quick`"]);
    let twice = format!("{recipe}[profile]\nquick = 3\n");
    run(dir.path(), &twice, &[]).failed_naming(&["recipe.toml", "line"]);
}

#[test]
fn a_missing_model_file_is_an_error_that_says_how_to_make_it() {
    let dir = tempfile::tempdir().unwrap();
    let head = HEAD.replace("arch = \"vgg8_bn\"\nwidth = 0.1", "from = \"net.safetensors\"");
    let recipe =
        format!("{head}[files]\n\"net.safetensors\" = \"lopper import net.pth --out net.safetensors\"\n");
    let words = ["stage `a`: `net.safetensors` is neither", "to make it:", "lopper import net.pth"];
    run(dir.path(), &recipe, &[]).failed_naming(&words);
    run(dir.path(), &head, &[])
        .failed_naming(&["`net.safetensors` is neither an earlier stage nor a model file"]);
    // A recipe is text: reading it needs no files.
    Recipe::parse(&recipe).unwrap();
}

#[test]
fn an_evaluation_equals_that_of_the_command() {
    let (dir, data) = (tempfile::tempdir().unwrap(), image_folder());
    let test = data.path().join("test");
    for class in ["dark", "light"] {
        fs::create_dir_all(test.join(class)).unwrap();
        for i in 0..5 {
            let from = data.path().join("val").join(class).join(format!("{i}.png"));
            fs::copy(from, test.join(class).join(format!("t{i}.png"))).unwrap();
        }
    }
    let recipe = format!(
        "seed = 3\n{}train = {{ epochs = 1, learning_rate = 1e-2 }}\n\
         evaluate = {{ split = \"test\", tta = [1, 3], beta = 0.1, classes = [\"light\"], top_losses = 2 }}\n\
         published = {{ top1 = 100, f1_weighted = 0.5, f1_tta = {{ 3 = 0.75, 5 = 0.5 }}, images = [8, 16], note = \"Made up.\" }}\n",
        HEAD.replace("\"fashion-mnist\"", "\"folder\", size = 32")
    );
    let ran = run(dir.path(), &recipe, &["--data", text(data.path())]).succeeded();
    let report = report(dir.path());
    let findings = &report["stages"][0]["findings"];
    let found = &findings["evaluation"];
    assert_eq!((&found["images"], &found["images_of"]), (&8.into(), &"test".into()), "{found}");
    let model = dir.path().join("out/1-a.safetensors");
    let options = ["--data", text(data.path()), "--split", "test", "--limit", "4", "--seed", "3", "--json"];
    let of = |more: &[&str]| -> Value {
        let all = [&["eval", text(&model)], &options[..], more].concat();
        serde_json::from_str(&lopper(&all).succeeded().out).unwrap()
    };
    let views = of(&["--tta", "3", "--tta-beta", "0.1", "--metrics", "--top-losses", "2"]);
    let scores =
        |view: &Value| ["views", "top1", "loss", "macro_f1", "weighted_f1"].map(|key| view[key].clone());
    let curve = |value: &Value| -> Vec<_> { value["tta"].as_array().unwrap().iter().map(scores).collect() };
    let all = curve(&views);
    assert_eq!(curve(found), [all[0].clone(), all[1].clone(), all[3].clone()]);
    let plain = of(&["--metrics", "--top-losses", "2"]);
    assert_eq!(found["top1"], plain["top1"]);
    assert_eq!(found["metrics"]["confusion"], plain["metrics"]["confusion"]);
    assert_eq!(found["chosen_f1"]["value"], plain["metrics"]["classes"][1]["f1"]["value"]);
    let figures = findings["published"]["figures"].as_array().unwrap();
    let names: Vec<&str> = figures.iter().map(|figure| figure["figure"].as_str().unwrap()).collect();
    assert_eq!(names, ["top1", "f1_weighted", "f1_tta_3", "images"]);
    assert_eq!(figures[0]["ours"][0], found["top1"]);
    assert_eq!(figures[2]["ours"][0], found["tta"][2]["weighted_f1"]);
    assert!(ran.out.contains("a: Made up.") && ran.err.contains("8 test images: top-1"), "{}", ran.out);
}

#[test]
fn options_of_a_report_are_checked_before_anything_is_trained() {
    let dir = tempfile::tempdir().unwrap();
    let train = "train = { epochs = 1, learning_rate = 1e-3 }";
    for (keys, words) in [
        ("published = { f1_weighted = 0.5 }", "f1_weighted: nothing measures it"),
        ("published = { f1_tta = { 5 = 0.5 } }", "f1_tta: nothing measures augmented views"),
        ("published = { top1 = 101 }", "published.top1, as a share"),
        ("published = { top = 1 }", "unknown field `top`"),
        ("evaluate = { tta = [5, 5] }", "evaluate.tta: expected numbers of views from 1"),
        ("evaluate = { beta = 1.5 }", "evaluate.beta"),
        ("evaluate = { classes = [\"cat\"] }", "evaluate.classes: no class `cat`"),
        ("evaluate = { split = \"all\" }", "split, train: `all` is only for images in files"),
        ("lr_find = { steps = 3 }", "lr_find: steps: expected at least 20"),
        ("train_on = \"all\"", "split, train: `all` is only for images in files"),
    ] {
        let run = run(dir.path(), &format!("{HEAD}{train}\n{keys}\n"), &[]);
        assert!(!run.err.contains("epoch 1"), "{}", run.err);
        run.failed_naming(&[words]);
    }
    run(dir.path(), &format!("{HEAD}lr_find = {{}}\n"), &[]).failed_naming(&["lr_find: nothing is trained"]);
    run(dir.path(), &format!("{HEAD}train_on = \"all\"\n"), &[])
        .failed_naming(&["train_on: nothing is trained"]);
    let epochs = "published = { sparsity_by_epoch = [1] }";
    run(dir.path(), &format!("{HEAD}{epochs}\n"), &[]).failed_naming(&["there are no epochs"]);
}

#[test]
fn a_range_test_reports_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = format!("{HEAD}train = {{ epochs = 1, learning_rate = 1e-3 }}\n");
    run(dir.path(), &recipe, &[]).succeeded();
    let network = || fs::read(dir.path().join("out/1-a.safetensors")).unwrap();
    let plain = network();
    let tested = run(dir.path(), &format!("{recipe}lr_find = {{ steps = 30 }}\n"), &["--force"]).succeeded();
    assert!(
        tested.err.contains("range test: valley")
            && tested.err.contains("the recipe's largest rate is 1.0e-3")
    );
    assert_eq!(network(), plain);
    let steps = report(dir.path())["stages"][0]["findings"]["lr_find"]["steps"].as_array().unwrap().len();
    assert!((20..=30).contains(&steps), "{steps}");
}

/// The findings of finished stages come back from the list of finished stages.
#[test]
fn a_resumed_run_keeps_its_findings() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = format!(
        "{HEAD}train = {{ epochs = 1, learning_rate = 1e-3 }}\nevaluate = {{ tta = [2] }}\nlr_find = {{ steps = 30 }}\n\
         published = {{ top1 = 50 }}\n[[stage]]\nname = \"b\"\nfold = {{}}\n"
    );
    run(dir.path(), &recipe, &[]).succeeded();
    let first = report(dir.path())["stages"][0].clone();
    let resumed = run(dir.path(), &recipe, &["--resume"]).succeeded();
    assert!(resumed.out.contains("published against ours"), "{}", resumed.out);
    assert_eq!(report(dir.path())["stages"][0]["findings"], first["findings"]);
    let other = recipe.replace("tta = [2]", "tta = [3]");
    run(dir.path(), &other, &["--resume"]).failed_naming(&["the options of stage `a` changed"]);
}

#[test]
fn a_stage_may_train_on_all_images() {
    let (dir, data) = (tempfile::tempdir().unwrap(), image_folder());
    let head = HEAD.replace("\"fashion-mnist\", limit = 4", "\"folder\", size = 32");
    let train = "train = { epochs = 1, learning_rate = 1e-3 }\n";
    let recipe = format!(
        "{head}{train}[[stage]]\nname = \"b\"\ntrain_on = \"all\"\n{train}[[stage]]\nname = \"c\"\n{train}"
    );
    run(dir.path(), &recipe, &["--data", text(data.path())]).succeeded();
    let history = fs::read_to_string(dir.path().join("out/history.csv")).unwrap();
    assert_eq!(history.lines().count(), 4);
    let state: Value = serde_json::from_slice(&fs::read(dir.path().join("out/state.json")).unwrap()).unwrap();
    let images = |stage: usize| {
        let epoch = &state["finished"][stage]["epochs"][0];
        (epoch["images_per_second"].as_f64().unwrap() * epoch["seconds"].as_f64().unwrap()).round()
    };
    assert_eq!([0, 1, 2].map(images), [16.0, 32.0, 16.0]);
}

/// The keys that an error offers for an unknown one in `recipe`.
fn keys(recipe: &str) -> BTreeSet<String> {
    let error = Recipe::parse(recipe).unwrap_err().to_string();
    assert!(error.contains("unknown field `nosuch`"), "{error}");
    let expected = error.split("expected").nth(1).unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// The keys in the first column of the table below a heading of the page.
fn documented(page: &str, heading: &str) -> BTreeSet<String> {
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    cells.map(str::to_string).collect()
}

#[test]
fn the_page_names_every_key() {
    let page = fs::read_to_string("docs/recipes.md").unwrap();
    let stage = |keys: &str| format!("{HEAD}train = {{ epochs = 1, learning_rate = 1e-3 }}\n{keys}\n");
    assert_eq!(documented(&page, "The recipe"), keys(&format!("nosuch = 1\n{HEAD}")));
    let data = keys(&HEAD.replace("limit = 4", "nosuch = 4"));
    let mut named = documented(&page, "Images");
    named.extend(["train_on", "class_folders"].map(str::to_string));
    let aliases = BTreeSet::from(["train_on".to_string(), "class_folders".to_string()]);
    assert_eq!(named.difference(&aliases).collect::<Vec<_>>(), data.difference(&aliases).collect::<Vec<_>>());
    assert_eq!(documented(&page, "Stages"), keys(&stage("nosuch = 1")));
    assert_eq!(documented(&page, "Evaluation"), keys(&stage("evaluate = { nosuch = 1 }")));
    assert_eq!(documented(&page, "Range test"), keys(&stage("lr_find = { nosuch = 1 }")));
    assert_eq!(documented(&page, "Published figures"), keys(&stage("published = { nosuch = 1 }")));
    for recipe in BUILTIN {
        assert!(documented(&page, "The program's recipes").contains(recipe.name), "{}", recipe.name);
    }
}
