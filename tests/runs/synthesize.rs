//! `lopper synthesize`: a directory of images from a network alone, which a student learns from.

use crate::support::command::{image_folder, lopper, model, names, text};
use std::fs;
use std::path::Path;

/// The arguments that make five images in batches of two, two and one.
fn making<'a>(network: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let sizes = ["--count", "5", "--batch", "2", "--steps", "3"];
    [&["synthesize", text(network), "--out", text(out)][..], &sizes, more].concat()
}

/// The bytes of all images in `directory`, by class and name.
fn images(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let files = ["dark", "light"].into_iter().flat_map(|class| {
        let folder = directory.join(class);
        let names = names(&folder);
        names.into_iter().map(move |name| (format!("{class}/{name}"), fs::read(folder.join(name)).unwrap()))
    });
    files.collect()
}

#[test]
fn synthesized_images_are_a_data_set_and_the_same_after_an_interruption() {
    let (data, place) = (image_folder(), tempfile::tempdir().unwrap());
    let teacher = model(place.path(), data.path());
    let [whole, parts] = ["whole", "parts"].map(|name| place.path().join(name));
    let run = lopper(&making(&teacher, &whole, &["--threads", "1"])).succeeded();
    assert!(run.out.contains("wrote 5 images of 2 classes"), "{}", run.out);
    let made = images(&whole);
    let expected =
        ["dark/000000.png", "dark/000002.png", "dark/000004.png", "light/000001.png", "light/000003.png"];
    assert_eq!(made.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
    for (_, bytes) in &made {
        let picture = image::load_from_memory(bytes).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (32, 32));
        assert!(picture.pixels().any(|pixel| pixel != picture.get_pixel(0, 0)), "not one color");
    }

    // As if it had stopped while it wrote the second batch.
    lopper(&making(&teacher, &parts, &[])).succeeded();
    let file = parts.join("synthesis.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(state["batches"].as_array().unwrap().len(), 3);
    state["batches"].as_array_mut().unwrap().truncate(1);
    fs::write(&file, state.to_string()).unwrap();
    fs::write(parts.join("dark/000002.png"), "half").unwrap();
    for gone in ["light/000003.png", "dark/000004.png"] {
        fs::remove_file(parts.join(gone)).unwrap();
    }
    let run = lopper(&making(&teacher, &parts, &["--resume", "--threads", "3"])).succeeded();
    assert!(!run.err.contains("batch 1 of 3") && run.err.contains("batch 2 of 3"), "{}", run.err);
    assert_eq!(images(&parts), made);

    let student = place.path().join("student.safetensors");
    let lesson = ["distill", text(&teacher), "--teacher", text(&teacher), "--epochs", "1", "--batch", "2"];
    let images = ["--data", text(&parts), "--resize", "none", "--out", text(&student)];
    lopper(&[&lesson[..], &images].concat()).succeeded();
}

#[test]
fn nothing_is_lost_or_mixed() {
    let (data, place) = (image_folder(), tempfile::tempdir().unwrap());
    let teacher = model(place.path(), data.path());
    let out = place.path().join("out");
    lopper(&making(&teacher, &out, &[])).succeeded();
    let made = images(&out);
    lopper(&making(&teacher, &out, &[])).failed_naming(&["synthesis.json", "already exists", "--force"]);
    lopper(&making(&teacher, &out, &["--resume", "--seed", "1"])).failed_naming(&[
        "synthesis.json",
        "seed: 0 then, 1 now",
        "--force",
    ]);
    assert_eq!(images(&out), made);

    // Fewer images: none of the earlier ones stays behind.
    let fewer = ["synthesize", text(&teacher), "--out", text(&out), "--force"];
    lopper(&[&fewer[..], &["--count", "2", "--steps", "1"]].concat()).succeeded();
    assert_eq!(images(&out).len(), 2);

    let own = tempfile::tempdir().unwrap();
    fs::create_dir(own.path().join("light")).unwrap();
    fs::write(own.path().join("light/mine.png"), "precious").unwrap();
    for more in [&[][..], &["--force"], &["--resume"]] {
        lopper(&making(&teacher, own.path(), more)).failed_naming(&["mine.png", "expected another --out"]);
    }
    assert_eq!(names(&own.path().join("light")), ["mine.png"]);

    fs::write(out.join("synthesis.json"), "{}").unwrap();
    lopper(&making(&teacher, &out, &["--resume"])).failed_naming(&["synthesis.json", "damaged"]);
}

#[test]
fn networks_without_statistics_are_refused() {
    let (data, place) = (image_folder(), tempfile::tempdir().unwrap());
    let teacher = model(place.path(), data.path());
    let [folded, out] = ["folded.safetensors", "out"].map(|name| place.path().join(name));
    lopper(&["fold", text(&teacher), "--out", text(&folded)]).succeeded();
    lopper(&making(&folded, &out, &[])).failed_naming(&["batch norms", "a folded network has lost them"]);
    assert!(!out.exists());
    let wrong = |option, value| {
        lopper(&["synthesize", text(&teacher), "--out", text(&out), "--count", "2", option, value])
    };
    wrong("--steps", "0").refused(&["steps", "expected 1 to"]);
    wrong("--learning-rate", "1e-60").refused(&["learning_rate", "vanishes"]);
    assert!(!out.exists());
}

/// The built-in data has a class `T-shirt/top`, which is no folder: a table says which images are of it.
#[test]
fn classes_that_are_no_folders_have_a_table() {
    let place = tempfile::tempdir().unwrap();
    let [teacher, student] =
        ["teacher", "student"].map(|name| place.path().join(format!("{name}.safetensors")));
    let train = ["train", "--arch", "resnet8", "--epochs", "0", "--data", "fashion-mnist", "--limit", "2"];
    lopper(&[&train[..], &["--out", text(&teacher)]].concat()).succeeded();
    let out = place.path().join("made");
    let make = ["synthesize", text(&teacher), "--out", text(&out), "--batch", "10", "--steps", "1"];
    let run = lopper(&[&make[..], &["--count", "20"]].concat()).succeeded();
    let table = out.join("labels.csv");
    assert!(run.out.contains(&format!("--data {}", table.display())), "{}", run.out);
    let labels = fs::read_to_string(&table).unwrap();
    assert!(
        labels.starts_with("path,label\n000/000000.png,T-shirt/top\ntrouser/000001.png,trouser\n"),
        "{labels}"
    );
    let lesson = ["distill", text(&teacher), "--teacher", text(&teacher), "--epochs", "1", "--batch", "2"];
    let images = ["--data", text(&table), "--resize", "none", "--out", text(&student)];
    lopper(&[&lesson[..], &images].concat()).succeeded();
    lopper(&[&make[..], &["--count", "3", "--force"]].concat()).succeeded();
    assert_eq!(fs::read_to_string(&table).unwrap().lines().count(), 4);
}
