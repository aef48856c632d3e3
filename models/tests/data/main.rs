//! Data sets from files on disk to batches.

mod bad_images;
mod formats;
mod invalid_options;
mod layouts;
mod resume;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use lopper_engine::Tensor;
use lopper_engine::data::{Batch, Batches};
use lopper_models::data::{Augment, Crop, DataConfig, DataName, Loader, Splits, decode_file, open};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const CLASSES: [&str; 3] = ["n01440764", "n02102040", "zebra"];

/// A directory of 3 classes with 6 training and 2 validation images each, in several formats.
fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    for (split, count) in [("train", 6), ("val", 2)] {
        for (label, class) in CLASSES.iter().enumerate() {
            let class_dir = dir.path().join(split).join(class);
            fs::create_dir_all(&class_dir).unwrap();
            fs::write(class_dir.join("notes.txt"), "no picture").unwrap();
            fs::write(class_dir.join("._hidden.png"), "no picture").unwrap();
            for i in 0..count {
                let extension = ["JPEG", "png", "jpg", "ppm"][i % 4];
                write_picture(&class_dir.join(format!("{i}.{extension}")), label as u8 * 60, i as u8 * 20);
            }
        }
    }
    dir
}

fn write_picture(path: &Path, red: u8, green: u8) {
    let image = RgbImage::from_fn(37, 29, |x, y| Rgb([red, green, (x * 5 + y) as u8]));
    let format = ImageFormat::from_path(path).unwrap();
    DynamicImage::from(image).save_with_format(path, format).unwrap();
}

fn config() -> DataConfig {
    DataConfig { size: Some(16), batch: 4, workers: 1, ..DataConfig::new(DataName::Folder) }
}

fn open_dir(config: &DataConfig, dir: &TempDir) -> Splits {
    open(config, Some(dir.path()), 7).unwrap()
}

fn open_error(config: &DataConfig, dir: &Path) -> String {
    match open(config, Some(dir), 7) {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}

fn batches(loader: &mut Loader, epoch: usize) -> Vec<Batch> {
    loader.epoch(epoch).unwrap().map(Result::unwrap).collect()
}

fn same(a: &[Batch], b: &[Batch]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.labels == b.labels && a.images.same_bits(&b.images))
}

fn labels(batches: &[Batch]) -> Vec<u32> {
    batches.iter().flat_map(|b| b.labels.iter().copied()).collect()
}

#[test]
fn a_folder_is_loaded_in_class_order() {
    let dir = folder();
    let Splits { mut train, mut val, classes, .. } = open_dir(&config(), &dir);
    assert_eq!(classes, CLASSES);
    assert_eq!((train.len(), train.samples(), train.image_shape()), (4, 16, [16, 16, 3]));
    assert_eq!((val.len(), val.samples()), (2, 6));

    let seen = batches(&mut val, 0);
    assert_eq!(labels(&seen), [0, 0, 1, 1, 2, 2]);
    assert_eq!(seen[1].images.shape(), [2, 16, 16, 3]);
    // Red is the label times 60, so this checks that images and labels match.
    let red = |images: &Tensor, i: usize| (images.data()[i * 16 * 16 * 3] * 0.229 + 0.485) * 255.0;
    for (i, &label) in seen[0].labels.iter().enumerate() {
        assert!((red(&seen[0].images, i) - label as f32 * 60.0).abs() < 12.0);
    }
    assert!(batches(&mut train, 0).iter().all(|b| b.images.shape() == [4, 16, 16, 3]));
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    let dir = folder();
    let of = |workers, epoch| {
        let config = DataConfig { workers, ..config() };
        batches(&mut open_dir(&config, &dir).train, epoch)
    };
    for epoch in 0..2 {
        let one = of(1, epoch);
        for workers in [0, 3, 7] {
            assert!(same(&one, &of(workers, epoch)), "epoch {epoch}, {workers} workers");
        }
    }
}

#[test]
fn epochs_and_seeds_differ_and_repeat() {
    let mut first = open(&DataConfig::new(DataName::FashionMnist), None, 1).unwrap().train;
    let mut second = open(&DataConfig::new(DataName::FashionMnist), None, 2).unwrap().train;
    let start = |loader: &mut Loader, epoch| vec![loader.epoch(epoch).unwrap().next().unwrap().unwrap()];
    let one = start(&mut first, 0);
    assert!(!same(&one, &start(&mut first, 1)) && !same(&one, &start(&mut second, 0)));
    assert!(same(&one, &start(&mut first, 0)));
}

#[test]
fn random_crops_vary_and_center_crops_do_not() {
    let dir = folder();
    for (crop, varies) in [(Crop::Resized, true), (Crop::Padded, true), (Crop::Center, false)] {
        let augment = Augment { crop: Some(crop), flip: 0.0, ..Augment::default() }.into();
        let config = DataConfig { augment, batch: 18, ..config() };
        let mut train = open_dir(&config, &dir).train;
        let sum = |batch: &Batch| {
            let mut bits: Vec<u32> = batch.images.data().iter().map(|v| v.to_bits()).collect();
            bits.sort_unstable();
            bits
        };
        assert_eq!(sum(&batches(&mut train, 0)[0]) != sum(&batches(&mut train, 1)[0]), varies, "{crop:?}");
    }
}

#[test]
fn cmyk_and_progressive_jpegs_decode() {
    // 16×8 pixels, left half red, right half blue.
    for file in ["cmyk.jpg", "progressive.jpg"] {
        let image =
            decode_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)).unwrap();
        let near = |x, rgb: [u8; 3]| image.get_pixel(x, 4).0.iter().zip(rgb).all(|(a, b)| a.abs_diff(b) < 12);
        assert!(near(2, [255, 0, 0]) && near(13, [0, 0, 255]), "{file}: {:?}", image.get_pixel(2, 4));
    }
}

#[test]
fn the_embedded_images_are_balanced_gray_and_padded() {
    let config = DataConfig { batch: 100, ..DataConfig::new(DataName::FashionMnist) };
    let Splits { train, mut val, classes, mean, std, .. } = open(&config, None, 0).unwrap();
    assert_eq!((train.samples(), val.samples()), (6000, 1000));
    assert_eq!((classes.len(), classes[9].as_str()), (10, "ankle boot"));
    let all = batches(&mut val, 0);
    for class in 0..10 {
        assert_eq!(labels(&all).iter().filter(|&&l| l == class).count(), 100, "class {class}");
    }
    let black = -mean[0] / std[0];
    let mut bright = 0;
    for image in all.iter().flat_map(|b| b.images.data().chunks(32 * 32 * 3)) {
        let pixels: Vec<&[f32]> = image.chunks(3).collect();
        assert!(pixels.iter().all(|p| p[0] == p[1] && p[1] == p[2]));
        let border = |i: usize| [i / 32, i % 32].iter().any(|c| !(2..30).contains(c));
        assert!((0..1024).filter(|&i| border(i)).all(|i| (pixels[i][0] - black).abs() < 1e-6));
        bright += pixels.iter().filter(|p| p[0] > 0.0).count();
    }
    assert!(bright > 100_000, "only {bright} bright pixels");
}

#[test]
fn the_mean_and_deviation_match_the_data() {
    let config = DataConfig { size: Some(32), ..DataConfig::new(DataName::FashionMnist) };
    let mut val = open(&config, None, 0).unwrap().val;
    let inner = |i: usize| (2..30).contains(&(i / 32)) && (2..30).contains(&(i % 32));
    let values: Vec<f64> = batches(&mut val, 0)
        .iter()
        .flat_map(|b| b.images.data().chunks(3).map(|p| f64::from(p[0])).collect::<Vec<_>>())
        .enumerate()
        .filter(|(i, _)| inner(i % 1024))
        .map(|(_, v)| v)
        .collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "mean {mean}, variance {variance}");
}

#[test]
fn limit_and_list_choose_images_and_the_cache_keeps_them() {
    let dir = folder();
    fs::write(
        dir.path().join("some.txt"),
        "train/zebra/1.png\n\ntrain/n01440764/0.JPEG\ntrain/zebra/0.JPEG\n",
    )
    .unwrap();
    let listed = DataConfig { train_list: Some("some.txt".into()), batch: 3, cache: true, ..config() };
    let mut train = open_dir(&listed, &dir).train;
    let first = batches(&mut train, 0);
    let mut seen = labels(&first);
    seen.sort_unstable();
    assert_eq!(seen, [0, 2, 2]);
    // Cached images are not read again.
    fs::remove_dir_all(dir.path().join("train")).unwrap();
    assert!(same(&first, &batches(&mut train, 0)));

    let dir = folder();
    let limited = DataConfig { limit: Some(1), batch: 2, ..config() };
    let Splits { train, mut val, .. } = open_dir(&limited, &dir);
    assert_eq!((train.samples(), labels(&batches(&mut val, 0))), (2, vec![0, 1, 2]));

    fs::write(dir.path().join("bad.txt"), "train/zebra/1.png\n../../etc/passwd\n").unwrap();
    let bad = DataConfig { train_list: Some("bad.txt".into()), ..config() };
    let message = open_error(&bad, dir.path());
    assert!(message.contains("bad.txt: line 2: `../../etc/passwd` is not an image in"), "{message}");
}

/// A noisy-label table for [`folder`] in which `noisy_labels_25` moves every other training label to the next class.
fn noisy_table(dir: &Path) -> String {
    let mut table = "path,noisy_labels_0,noisy_labels_25,is_valid\n".to_string();
    for (label, class) in CLASSES.iter().enumerate() {
        let next = CLASSES[(label + 1) % 3];
        for file in fs::read_dir(dir.join("train").join(class)).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let moved = file.starts_with(['0', '2', '4']);
            table += &format!("train/{class}/{file},{class},{},False\n", if moved { next } else { class });
        }
    }
    table
}

#[test]
fn noisy_labels_replace_training_labels_only() {
    let dir = folder();
    let table = dir.path().join("noisy_imagenette.csv");
    fs::write(&table, noisy_table(dir.path())).unwrap();
    let config =
        |noise| DataConfig { name: DataName::Imagenette, label_noise: Some(noise), batch: 18, ..config() };
    let of = |noise| {
        let mut splits = open_dir(&config(noise), &dir);
        (labels(&batches(&mut splits.train, 0)), labels(&batches(&mut splits.val, 0)), splits.classes)
    };
    let (clean, clean_val, classes) = of(0);
    let (noisy, noisy_val, _) = of(25);
    assert_eq!(classes, ["tench", "English springer", "zebra"]);
    assert_eq!(clean_val, noisy_val);
    let moved: Vec<_> = clean.iter().zip(&noisy).filter(|(a, b)| a != b).collect();
    assert_eq!(moved.len(), 9);
    assert!(moved.iter().all(|(a, b)| (**a + 1) % 3 == **b));

    let message = open_error(&config(5), dir.path());
    assert!(
        message.contains("no column `noisy_labels_5`, only path, noisy_labels_0, noisy_labels_25"),
        "{message}"
    );
    fs::write(&table, noisy_table(dir.path()).replace(",zebra,", ",horse,")).unwrap();
    assert!(open_error(&config(25), dir.path()).contains("is not a class folder"));
    fs::write(&table, noisy_table(dir.path()).replace("train/zebra/0", "train/zebra/absent")).unwrap();
    assert!(open_error(&config(25), dir.path()).contains("no label for `train/zebra/0.JPEG`"));
    fs::write(&table, "path,noisy_labels_25\nonly a path\n").unwrap();
    assert!(open_error(&config(25), dir.path()).contains("noisy_imagenette.csv"));
    fs::remove_file(&table).unwrap();
    assert!(open_error(&config(25), dir.path()).contains("noisy_imagenette.csv"));
}

#[test]
fn dropping_an_epoch_early_ends_its_workers() {
    let dir = folder();
    let config = DataConfig { workers: 3, batch: 1, ..config() };
    let mut train = open_dir(&config, &dir).train;
    for taken in 0..4 {
        // Dropping joins the workers, so this would hang if one did not stop.
        assert_eq!(train.epoch(0).unwrap().take(taken).filter(Result::is_ok).count(), taken);
    }
    assert_eq!(batches(&mut train, 0).len(), 18);
}
