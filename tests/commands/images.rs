//! Images on the command line: what is found is reported, and every command uses a model's images in the same way.

use crate::support::command::{image_folder, lopper, model, text};
use crate::support::fixtures::Fixture;
use std::fs;
use std::path::Path;

/// The numbers in a JSON result: the fields `names` of the object at `pointer`.
fn numbers(json: &str, pointer: &str, names: &[&str]) -> Vec<f64> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    names.iter().map(|name| value.pointer(pointer).unwrap()[name].as_f64().unwrap()).collect()
}

/// Writes noisy pictures of 50×34 pixels, whose classes are hard to tell apart, as `dir/class/i.png`.
fn noise(dir: &Path, classes: &[&str], count: u32) {
    for (c, class) in classes.iter().enumerate() {
        fs::create_dir_all(dir.join(class)).unwrap();
        for i in 0..count {
            let value =
                |x: u32, y: u32| (x * 31 + y * 17 + i * 7 + c as u32 * 3).wrapping_mul(2_654_435_761) >> 24;
            let pixel = |x, y| image::Rgb([value(x, y) as u8, (value(y, x) / 2) as u8, (c * 9 + 60) as u8]);
            image::RgbImage::from_fn(50, 34, pixel).save(dir.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
}

#[test]
fn a_training_reports_what_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let flowers = dir.path().join("flowers");
    noise(&flowers, &["aster", "daisy"], 10);
    fs::write(flowers.join("daisy/notes.txt"), "").unwrap();
    let out = dir.path().join("m.safetensors");
    let run = crate::support::command::train(&flowers, &out, &["--val-fraction", "0.3"]).succeeded();
    let line = "flowers: 14 training and 6 validation images, 2 classes; ignored 1 file (.txt)";
    assert!(run.err.contains(line) && run.err.contains("30 % of each class are held out"), "{}", run.err);

    // The same images are held out whatever the seed, so that training images are never scored.
    let eval = |more: &[&str]| {
        let args = ["eval", text(&out), "--data", text(&flowers), "--val-fraction", "0.3", "--json"];
        lopper(&[&args[..], more].concat()).succeeded().out
    };
    assert_eq!(eval(&[]), eval(&["--seed", "9"]));
    assert_eq!(numbers(&eval(&["--split", "all"]), "", &["images"]), [20.0]);
    lopper(&["eval", text(&out), "--data", text(&flowers), "--split", "test"])
        .failed_naming(&["flowers", "there are no test images"]);
}

#[test]
fn a_folder_that_is_not_understood_shows_the_arrangements() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.safetensors");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let run = crate::support::command::train(&empty, &out, &[]);
    run.failed_naming(&[
        "no images in class folders here; found nothing. What is understood:\n  train/CLASS/*.jpg",
        "--class-pattern",
    ]);
}

#[test]
fn eval_prune_and_a_recipe_agree() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    noise(&data.join("train"), &["x", "y", "z"], 12);
    noise(&data.join("val"), &["x", "y", "z"], 7);
    let [first, second] = ["a", "b"].map(|name| dir.path().join(name).with_extension("safetensors"));
    let train = ["train", "--arch", "vgg8_bn", "--width", "0.25", "--epochs", "2", "--batch", "6", "--json"];
    let images = ["--data", text(&data), "--size", "33", "--resize", "40", "--filter", "bicubic"];
    let trained = lopper(&[&train[..], &images, &["--out", text(&first)]].concat()).succeeded().out;
    let eval = |model: &Path, more: &[&str]| {
        let args = ["eval", text(model), "--data", text(&data), "--json"];
        lopper(&[&args[..], more].concat()).succeeded().out
    };
    let scored = eval(&first, &[]);
    assert_eq!(numbers(&trained, "/stages/0", &["top1"]), numbers(&scored, "", &["top1"]));
    // The preparation matters: another one gives another loss.
    let loss = |json: &str| numbers(json, "", &["loss"]);
    assert_ne!(loss(&scored), loss(&eval(&first, &["--center-fraction", "0.5"])));
    assert_eq!(
        loss(&scored),
        loss(&eval(&first, &["--resize", "40", "--filter", "bicubic", "--size", "33"]))
    );

    // Pruned at another size: the row is that of the size that was used, and the file remembers it.
    let prune =
        ["prune", text(&first), "--data", text(&data), "--size", "48", "--json", "--out", text(&second)];
    let pruned = lopper(&prune).succeeded().out;
    let costs = |model: &Path| {
        let summary = lopper(&["summary", text(model), "--json"]).succeeded().out;
        numbers(&summary, "", &["macs"])
    };
    assert_eq!(numbers(&pruned, "/stages/1", &["macs"]), costs(&second));
    assert!(numbers(&pruned, "/stages/0", &["macs"])[0] > costs(&first)[0]);
    assert_eq!(numbers(&pruned, "/stages/1", &["top1"]), numbers(&eval(&second, &[]), "", &["top1"]));

    let recipe = dir.path().join("r.toml");
    let text_of = format!("[data]\nname = 'folder'\n[[stage]]\nname = 'again'\nfrom = {:?}\n", text(&first));
    fs::write(&recipe, text_of).unwrap();
    let run_dir = dir.path().join("run");
    let run = ["run", text(&recipe), "--data", text(&data), "--out", text(&run_dir), "--json"];
    let row = lopper(&run).succeeded().out;
    assert_eq!(numbers(&row, "/stages/0", &["top1"]), numbers(&scored, "", &["top1"]));
}

/// A network for 32-pixel images is scored on whole images, as in its golden outputs, and not on their centers.
#[test]
fn a_network_for_small_images_is_scored_on_whole_images() {
    let golden = Fixture::open("cifar_resnet20/golden.safetensors");
    let (bytes, labels) = (golden.bytes("images_u8_nhwc"), golden.classes("labels"));
    let dir = tempfile::tempdir().unwrap();
    for (i, (pixels, label)) in bytes.chunks_exact(32 * 32 * 3).zip(&labels).enumerate() {
        let class = dir.path().join("images").join(format!("{label:03}"));
        fs::create_dir_all(&class).unwrap();
        image::RgbImage::from_raw(32, 32, pixels.to_vec())
            .unwrap()
            .save(class.join(format!("{i}.png")))
            .unwrap();
    }
    let out = dir.path().join("m.safetensors");
    let weights = crate::support::fixtures::path("cifar_resnet20/model.safetensors");
    let import =
        ["import", text(&weights), "--arch", "cifar_resnet20", "--classes", "10", "--size", "32", "--out"];
    lopper(&[&import[..], &[text(&out)]].concat()).succeeded();
    let eval = |more: &[&str]| {
        let images = dir.path().join("images");
        let args = ["eval", text(&out), "--data", text(&images), "--split", "all", "--json"];
        numbers(&lopper(&[&args[..], more].concat()).succeeded().out, "", &["top1", "images"])
    };
    let logits = golden.stored("logits_eval");
    let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32;
    let right = logits.chunks(10).zip(&labels).filter(|(row, label)| best(row) == **label).count();
    assert_eq!(eval(&[]), [right as f64 / 64.0, 64.0]);
    assert!(eval(&["--resize", "37"])[0] < right as f64 / 64.0, "a crop loses the border");
}

#[test]
fn a_model_is_scored_on_some_of_its_classes_without_training_images() {
    let data = image_folder();
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), data.path());
    fs::remove_dir_all(data.path().join("train")).unwrap();
    fs::remove_dir_all(data.path().join("val/dark")).unwrap();
    fs::create_dir_all(data.path().join("val/light/deeper")).unwrap();
    fs::rename(data.path().join("val/light/0.png"), data.path().join("val/light/deeper/0.png")).unwrap();
    let eval = ["eval", text(&model), "--data", text(data.path()), "--json"];
    let run = lopper(&eval).succeeded();
    assert_eq!(numbers(&run.out, "", &["images"]), [8.0]);
    assert!(run.err.contains("0 training and 8 validation images, 2 classes"), "{}", run.err);
    assert!(run.err.contains("no validation images of dark"), "{}", run.err);
    fs::rename(data.path().join("val/light"), data.path().join("val/bright")).unwrap();
    lopper(&eval).failed_naming(&["dark, light", "(bright)"]);
}

#[test]
fn every_command_names_the_images_that_it_skipped() {
    let data = image_folder();
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), data.path());
    fs::write(data.path().join("val/dark/3.png"), "no picture").unwrap();
    let images = ["--data", text(data.path()), "--skip-bad-images"];
    for command in ["eval", "diff", "fold"] {
        let out = dir.path().join("o.safetensors");
        let mut args = vec![command, text(&model)];
        match command {
            "diff" => args.push(text(&model)),
            "fold" => args.extend(["--out", text(&out)]),
            _ => {}
        }
        let run = lopper(&[&args[..], &images].concat()).succeeded();
        assert!(
            run.err.contains("skipped 1 image") && run.err.contains("val/dark/3.png"),
            "{command}: {}",
            run.err
        );
    }
}

#[test]
fn options_of_images_are_checked() {
    let data = image_folder();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.safetensors");
    for (options, words) in [
        (&["--columns", "where=x"][..], &["--columns", "where=x"][..]),
        (&["--labels", "none.csv"][..], &["none.csv"][..]),
        (&["--val-fraction", "2"][..], &["val_fraction", "2.0"][..]),
        (&["--filter", "lanczos"][..], &["resize", "bilinear"][..]),
        (&["--class-folders", "dark,bright"][..], &["dark, bright", "dark, light"][..]),
        (&["--resize", "100000"][..], &["resize", "100000"][..]),
    ] {
        crate::support::command::train(data.path(), &out, options).failed_naming(words);
    }
    let steps = "[{ random_rotation = { degrees = 10 } }, { color_jitter = { hue = 0.1 } }]";
    crate::support::command::train(data.path(), &out, &["--augment", steps]).succeeded();
    let unknown = "[{ random_rotation = { angle = 10 } }]";
    for options in [
        &["--augment", unknown][..],
        &["--augment", "fancy"],
        &["--class-pattern", "*"],
        &["--resize", "middle"],
        &["--split", "some"],
    ] {
        assert_eq!(crate::support::command::train(data.path(), &out, options).status, Some(2), "{options:?}");
    }
}
