//! Random steps by their properties, and the forms in which a recipe gives them.

use image::{Rgb, RgbImage};
use lopper_engine::data::Batches;
use lopper_engine::info::Preparation;
use lopper_models::data::steps::{PRESETS, Step, Steps, preset};
use lopper_models::data::{
    Augment, Augmentation, Cut, DataConfig, DataName, Loader, Normalize, Scratch, Transform, generator, open,
};
use proptest::prelude::*;
use std::collections::HashSet;

const SIZE: usize = 24;

fn steps(json: &str) -> Vec<Step> {
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

/// The values of `image` after the steps in `json`, with mean 0 and deviation 1.
fn run(image: &RgbImage, json: &str, seed: u64) -> Vec<f32> {
    let steps = Steps::new(steps(json), SIZE).unwrap();
    let cut = Cut::Steps { steps, preparation: Preparation::center(1.0) };
    let normalize = Normalize::new([0.0; 3], [1.0; 3]).unwrap();
    let transform = Transform { size: SIZE, cut, flip: 0.0, normalize };
    let mut out = vec![f32::NAN; SIZE * SIZE * 3];
    transform.apply(image, &mut generator(seed, 0, 0), &mut Scratch::default(), &mut out);
    out
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().map(|value| (value * 255.0).round() as u8).collect()
}

/// A picture in which every pixel of up to 60×60 differs.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 4) as u8, (y * 4) as u8, ((x + y) * 2) as u8]))
}

const ALL: [&str; 16] = [
    r#"[{"resize": {"size": 30}}, {"random_crop": {}}]"#,
    r#"[{"resize": {}}]"#,
    r#"[{"center_crop": {}}]"#,
    r#"[{"random_crop": {"padding": 5, "padding_mode": "reflect"}}]"#,
    r#"[{"random_crop": {"pad_if_needed": true, "padding_mode": "symmetric"}}]"#,
    r#"[{"random_resized_crop": {"filter": "bicubic"}}]"#,
    r#"[{"random_horizontal_flip": {}}, {"random_vertical_flip": {"p": 0.3}}]"#,
    r#"[{"random_rotation": {"degrees": 180, "filter": "bilinear"}}]"#,
    r#"[{"random_affine": {"degrees": 20, "translate": [0.1, 0.3], "scale": [0.5, 2], "shear": [-9, 9]}}]"#,
    r#"[{"random_perspective": {"p": 1}}]"#,
    r#"[{"random_zoom": {"scale": [0.7, 1.5]}}]"#,
    r#"[{"color_jitter": {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.5}}]"#,
    r#"[{"random_erasing": {"p": 1}}]"#,
    r#"[{"fastai": {}}]"#,
    r#"[{"fastai": {"flip_vert": true, "padding_mode": "constant", "min_zoom": 0.5}}]"#,
    r#"[{"RandomResizedCrop": {"scale": [0.3, 1]}}, {"ColorJitter": {"hue": [0.1, 0.2]}}, {"RandomErasing": {}}]"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Images of any size become squares of numbers in range, the same for the same seed.
    #[test]
    fn every_step_fills_the_square(width in 1u32..60, height in 1u32..60, seed: u64) {
        for json in ALL {
            let out = run(&picture(width, height), json, seed);
            prop_assert!(out.iter().all(|v| (0.0..=1.0).contains(v)), "{}", json);
            prop_assert_eq!(out, run(&picture(width, height), json, seed), "{}", json);
        }
    }

    /// A crop is a part of the picture: its pixels are neighbors there.
    #[test]
    fn a_random_crop_is_a_part(width in 24u32..60, height in 24u32..60, seed: u64) {
        let out = bytes(&run(&picture(width, height), r#"[{"random_crop": {}}]"#, seed));
        let (left, top) = (u32::from(out[0]) / 4, u32::from(out[1]) / 4);
        prop_assert!(left + 24 <= width && top + 24 <= height);
        let part = image::imageops::crop_imm(&picture(width, height), left, top, 24, 24).to_image();
        prop_assert_eq!(&out, part.as_raw());
    }

    /// The box is cut out first, as in torchvision: the pixels around it do not count.
    #[test]
    fn a_random_box_is_cut_out_and_resized(width in 40u32..50, height in 40u32..50, seed: u64) {
        let image = picture(width, height);
        let share = 400.0 / f64::from(width * height);
        let options = format!(r#"{{"scale": [{share}, {share}], "ratio": [1, 1], "filter": "bicubic"}}"#);
        let out = bytes(&run(&image, &format!(r#"[{{"random_resized_crop": {options}}}]"#), seed));
        let is_out = |left, top| {
            let part = image::imageops::crop_imm(&image, left, top, 20, 20).to_image();
            bytes(&run(&part, r#"[{"resize": {"filter": "bicubic"}}]"#, seed)) == out
        };
        let lefts = 0..=width - 20;
        prop_assert!(lefts.into_iter().any(|left| (0..=height - 20).any(|top| is_out(left, top))));
    }

    /// A box has one value, and everything around it stays.
    #[test]
    fn erasing_leaves_one_box(seed: u64) {
        let json = r#"[{"random_erasing": {"p": 1, "value": 0.5, "scale": [0.1, 0.3]}}]"#;
        let (out, before) = (run(&picture(24, 24), json, seed), run(&picture(24, 24), "[]", seed));
        let erased: Vec<usize> = (0..SIZE * SIZE).filter(|i| out[i * 3..i * 3 + 3] == [0.5; 3]).collect();
        let (rows, columns) = (erased.iter().map(|i| i / SIZE), erased.iter().map(|i| i % SIZE));
        let (rows, columns): (HashSet<_>, HashSet<_>) = (rows.collect(), columns.collect());
        prop_assert_eq!(rows.len() * columns.len(), erased.len());
        let share = erased.len() as f64 / 576.0;
        prop_assert!((0.07..0.34).contains(&share), "{}", share);
        let kept = (0..SIZE * SIZE).filter(|i| !erased.contains(i));
        prop_assert!(kept.into_iter().all(|i| out[i * 3..i * 3 + 3] == before[i * 3..i * 3 + 3]));
    }
}

/// The share of `count` seeds for which the outcome of `json` equals that of `of`.
fn share(json: &str, of: &RgbImage, count: u64) -> f64 {
    let found = (0..count).filter(|&seed| &bytes(&run(&picture(24, 24), json, seed)) == of.as_raw()).count();
    found as f64 / count as f64
}

#[test]
fn probabilities_are_kept() {
    let (image, flipped) = (picture(24, 24), image::imageops::flip_horizontal(&picture(24, 24)));
    for p in [0.0, 0.3, 1.0] {
        let json = format!(r#"[{{"random_horizontal_flip": {{"p": {p}}}}}]"#);
        let found = share(&json, &flipped, 600);
        assert!((found - p).abs() < 0.07, "{found} of {p}");
        let json = format!(r#"[{{"random_perspective": {{"p": {p}}}}}]"#);
        assert!((share(&json, &image, 300) - (1.0 - p)).abs() < 0.1);
    }
}

#[test]
fn a_shift_moves_by_whole_pixels_up_to_its_limit() {
    let json = r#"[{"random_affine": {"degrees": 0, "translate": [0.25, 0.0]}}]"#;
    let mut seen = HashSet::new();
    for seed in 0..400 {
        let out = bytes(&run(&picture(24, 24), json, seed));
        // The red of the last visible column tells how far the picture moved.
        let shift = (-6i32..=6).find(|shift| {
            (0..24).all(|x| {
                let from = x - shift;
                let red = if (0..24).contains(&from) { (from * 4) as u8 } else { 0 };
                out[x as usize * 3] == red
            })
        });
        seen.insert(shift.expect("a shift by whole pixels"));
    }
    assert_eq!(seen.len(), 13, "{seen:?}");
}

#[test]
fn a_zoom_keeps_the_center() {
    let center = |out: &[u8]| (out[(12 * 24 + 12) * 3], out[(11 * 24 + 11) * 3]);
    for (scale, step) in [(2.0, 2.0), (0.5, 8.0)] {
        let json = format!(r#"[{{"random_zoom": {{"scale": [{scale}, {scale}]}}}}]"#);
        let out = bytes(&run(&picture(24, 24), &json, 0));
        let (right, left) = center(&out);
        assert!((f64::from(right) - f64::from(left) - step).abs() <= 1.0, "{scale}: {left} {right}");
        assert!((f64::from(right) + f64::from(left) - 92.0).abs() <= 2.0);
    }
}

#[test]
fn jitter_stays_in_its_range() {
    let gray = RgbImage::from_pixel(24, 24, Rgb([100; 3]));
    let values: Vec<u8> = (0..300)
        .map(|seed| bytes(&run(&gray, r#"[{"color_jitter": {"brightness": 0.3}}]"#, seed))[0])
        .collect();
    assert!(values.iter().all(|v| (69..=130).contains(v)));
    assert!(values.iter().min().unwrap() < &75 && values.iter().max().unwrap() > &124);
}

#[test]
fn three_forms_are_read_and_others_refused() {
    let read = |text: &str| toml::from_str::<DataConfig>(&format!("name = 'folder'\naugment = {text}"));
    let simple = Augmentation::Simple(Augment { flip: 0.0, ..Augment::default() });
    assert_eq!(read("{ flip = 0.0 }").unwrap().augment, simple);
    assert_eq!(read("'get_transforms'").unwrap().augment, Augmentation::Preset("get_transforms".into()));
    let list = "[{ random_rotation = { degrees = 10 } }, { RandomHorizontalFlip = {} }]";
    assert!(matches!(read(list).unwrap().augment, Augmentation::Steps(steps) if steps.len() == 2));
    for (text, word) in [
        ("[{ random_rotation = { angle = 10 } }]", "angle"),
        ("[{ rotate = { degrees = 10 } }]", "random_rotation"),
        ("[{ random_rotation = {} }]", "degrees"),
        ("{ twist = 1 }", "twist"),
        ("7", "a preset (none, get_transforms, aug_transforms), a list of steps, or a table"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn invalid_steps_are_named() {
    let error = |json: &str| Steps::new(steps(json), SIZE).unwrap_err().to_string();
    for (json, words) in [
        (r#"[{"random_horizontal_flip": {"p": 2}}]"#, "augment.random_horizontal_flip: p: expected [0, 1]"),
        (r#"[{"resize": {"size": 30}}]"#, "different sizes: add a crop"),
        (r#"[{"random_crop": {"size": 20}}]"#, "20×20 pixels, and the data set's size is 24"),
        (r#"[{"random_crop": {"size": 0}}]"#, "expected 1 to 4096 pixels"),
        (r#"[{"random_resized_crop": {"scale": [0.5, 0.1]}}]"#, "random_resized_crop: scale"),
        (r#"[{"random_rotation": {"degrees": 400}}]"#, "degrees"),
        (r#"[{"random_rotation": {"degrees": 4, "filter": "lanczos"}}]"#, "nearest or bilinear"),
        (r#"[{"color_jitter": {"hue": 0.7}}]"#, "hue"),
        (r#"[{"random_affine": {"degrees": 0, "shear": 90}}]"#, "shear"),
        (r#"[{"random_erasing": {"ratio": [0, 1]}}]"#, "ratio"),
        (r#"[{"fastai": {"max_lighting": 1}}]"#, "max_lighting"),
    ] {
        assert!(error(json).contains(words), "{json}: {}", error(json));
    }
    let config = DataConfig {
        augment: Augmentation::Preset("fancy".into()),
        ..DataConfig::new(DataName::FashionMnist)
    };
    let error = open(&config, None, 0).err().unwrap().to_string();
    assert!(error.contains("get_transforms") && error.contains("`fancy`"), "{error}");
}

#[test]
fn presets_train_on_any_data() {
    for name in PRESETS {
        assert!(preset(name, 32).is_some());
        let augment = Augmentation::Preset(name.into());
        let config =
            DataConfig { augment, limit: Some(3), batch: 10, ..DataConfig::new(DataName::FashionMnist) };
        let mut train = open(&config, None, 0).unwrap().train;
        let batch = train.epoch(0).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.images.shape(), [10, 32, 32, 3]);
        assert!(batch.images.data().iter().all(|v| v.is_finite()));
    }
}

/// With the same seed, a mixed batch consists of the images of the batch that is not mixed.
#[test]
fn batches_are_mixed_after_their_images_are_augmented() {
    let batch = |json: &str, workers| {
        let mut all = steps(r#"[{"random_horizontal_flip": {}}, {"random_rotation": {"degrees": 9}}]"#);
        all.extend(steps(json));
        let augment = Augmentation::Steps(all);
        let config = DataConfig {
            augment,
            limit: Some(4),
            batch: 20,
            workers,
            ..DataConfig::new(DataName::FashionMnist)
        };
        let mut train = open(&config, None, 3).unwrap().train;
        train.epoch(1).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    let length = 32 * 32 * 3;
    for (k, plain) in batch("[]", 1).iter().enumerate() {
        assert_eq!(plain.mixed, None);
        let blended = &batch(r#"[{"mixup": {"alpha": 2}}]"#, 2)[k];
        let mixed = blended.mixed.as_ref().unwrap();
        assert_eq!(blended.labels, plain.labels);
        let image = |i: usize| &plain.images.data()[i * length..][..length];
        for i in 0..20 {
            let before = (i + 19) % 20;
            assert_eq!(mixed.labels[i], plain.labels[before]);
            let pairs = image(i).iter().zip(image(before));
            let found = &blended.images.data()[i * length..][..length];
            assert!(
                found.iter().zip(pairs).all(|(v, (a, b))| (v - (a + mixed.share * (b - a))).abs() < 1e-5)
            );
        }
        let pasted = &batch(r#"[{"cutmix": {}}]"#, 0)[k];
        let from_either = |i: usize| {
            let found = &pasted.images.data()[i * length..][..length];
            found.iter().zip(image(i)).zip(image((i + 19) % 20)).all(|((v, a), b)| v == a || v == b)
        };
        assert!((0..20).all(from_either));
    }
    // Of two steps that mix, each batch has one, and batches have shares of their own.
    let both = batch(r#"[{"mixup": {}}, {"CutMix": {}}]"#, 1);
    assert!(both.iter().all(|batch| batch.mixed.is_some()));
    assert_ne!(both[0].mixed.as_ref().unwrap().share, both[1].mixed.as_ref().unwrap().share);
    assert!(Steps::new(steps(r#"[{"mixup": {"alpha": 0}}]"#), SIZE).is_err());
}

#[test]
fn images_to_score_are_augmented_but_not_mixed() {
    let views = |json: &str| {
        let augment = Augmentation::Steps(steps(json));
        let config =
            DataConfig { augment, limit: Some(2), batch: 20, ..DataConfig::new(DataName::FashionMnist) };
        let mut splits = open(&config, None, 3).unwrap();
        let first = |loader: &mut Loader| loader.epoch(1).unwrap().map(Result::unwrap).next().unwrap();
        (first(&mut splits.val), first(&mut splits.val.transformed_like(&splits.train)))
    };
    let (plain, turned) = views(r#"[{"random_rotation": {"degrees": 9}}]"#);
    let (_, unmixed) = views(r#"[{"mixup": {}}, {"random_rotation": {"degrees": 9}}, {"cutmix": {}}]"#);
    assert_eq!((&turned.labels, turned.mixed.is_none()), (&plain.labels, true));
    assert!(!turned.images.same_bits(&plain.images));
    assert!(unmixed.images.same_bits(&turned.images) && unmixed.mixed.is_none());
}
