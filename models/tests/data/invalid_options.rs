//! Folders, options and recipe keys that are rejected, each by its name.

use super::*;

#[test]
fn invalid_options_are_named() {
    let dir = folder();
    let augment = |augment: Augment| DataConfig { augment: augment.into(), ..config() };
    let cases = [
        (DataConfig { batch: 0, ..config() }, "batch"),
        (DataConfig { size: Some(0), ..config() }, "size"),
        (DataConfig { limit: Some(0), ..config() }, "limit"),
        (DataConfig { workers: 1000, ..config() }, "workers"),
        (DataConfig { std: Some([0.0; 3]), ..config() }, "std"),
        (DataConfig { center_fraction: Some(1.5), ..config() }, "center_fraction"),
        (augment(Augment { scale: [0.5, 0.1], ..Augment::default() }), "augment.scale"),
        (augment(Augment { scale: [f64::NAN, 1.0], ..Augment::default() }), "augment.scale"),
        (augment(Augment { ratio: [0.0, 1.0], ..Augment::default() }), "augment.ratio"),
        (augment(Augment { flip: 2.0, ..Augment::default() }), "augment.flip"),
        (augment(Augment { padding: 17, ..Augment::default() }), "augment.padding"),
        (DataConfig { label_noise: Some(5), ..DataConfig::new(DataName::FashionMnist) }, "label_noise"),
    ];
    for (config, option) in cases {
        let message = open_error(&config, dir.path());
        assert!(message.contains(option), "{option}: {message}");
    }
    assert!(open(&config(), None, 0).err().unwrap().to_string().contains("--data DIR"));
    let message = open_error(&DataConfig::new(DataName::FashionMnist), dir.path());
    assert!(message.contains("built in"), "{message}");
}

#[test]
fn a_batch_larger_than_the_training_set_stops_only_training() {
    let dir = folder();
    let Splits { mut train, mut val, .. } = open_dir(&DataConfig { batch: 19, ..config() }, &dir);
    let message = train.epoch(0).err().unwrap().to_string();
    assert!(message.contains("batch: 18 images do not fill a batch of 19"), "{message}");
    assert!(!batches(&mut val, 0).is_empty());
}

#[test]
fn unknown_options_in_a_recipe_are_rejected() {
    let parsed: DataConfig = toml::from_str(
        "name = 'fashion-mnist'\nbatch = 32\nlimit = 5\naugment = { crop = 'resized', scale = [0.5, 1.0] }",
    )
    .unwrap();
    let expected = DataConfig {
        batch: 32,
        limit: Some(5),
        augment: Augment { crop: Some(Crop::Resized), scale: [0.5, 1.0], ..Augment::default() }.into(),
        ..DataConfig::new(DataName::FashionMnist)
    };
    assert_eq!(parsed, expected);
    assert_eq!(open(&parsed, None, 0).unwrap().val.samples(), 50);
    for bad in [
        "name = 'fashion-mnist'\nbatchsize = 3",
        "name = 'cifar'",
        "batch = 3",
        "name='idx'\naugment={zoom=2}",
        "name='folder'\nclass_pattern='*_3'",
        "name='folder'\nsplit='some'",
    ] {
        assert!(toml::from_str::<DataConfig>(bad).is_err(), "{bad}");
    }
}
