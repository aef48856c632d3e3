//! Arrangements of image files, splits and class lists.

use super::*;
use lopper_models::data::{Columns, EmptyClasses, Part, Scored, Split, Summary, Trained};

/// Writes a picture to each of `paths` in a new directory. The digit before the extension is its green.
fn pictures(paths: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for path in paths {
        let file = dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        write_picture(&file, 9, 9);
    }
    dir
}

/// `count` paths in the folder `folder`.
fn paths(folder: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{folder}/{i}.png")).collect()
}

fn pictures_in(folders: &[(&str, usize)]) -> TempDir {
    let all: Vec<String> = folders.iter().flat_map(|(folder, count)| paths(folder, *count)).collect();
    pictures(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The numbers of images and classes, and the whole summary.
fn opened(config: &DataConfig, data: &Path) -> ([usize; 3], String) {
    let splits = open(config, Some(data), 7).unwrap();
    let Summary { train, scored, classes, .. } = splits.summary;
    assert_eq!(splits.val.samples(), scored);
    ([train, scored, classes], splits.summary.to_string())
}

#[test]
fn splits_have_many_names() {
    for (train, val) in
        [("train", "valid"), ("Training", "VALIDATION"), ("TRAIN", "test"), ("training", "Testing")]
    {
        let [ta, tb, va, vb] =
            [(train, "a"), (train, "b"), (val, "a"), (val, "b")].map(|(s, c)| format!("{s}/{c}"));
        let dir = pictures_in(&[(&ta, 5), (&tb, 4), (&va, 2), (&vb, 1)]);
        assert_eq!(opened(&config(), dir.path()).0, [9, 3, 2], "{train}, {val}");
    }
    let dir = pictures_in(&[("val/a", 1), ("train/a", 1), ("Valid/b", 1)]);
    let message = open_error(&config(), dir.path());
    assert!(message.contains("`Valid` and `val` are both folders of validation images"), "{message}");
}

#[test]
fn a_third_split_is_scored_on_request() {
    let dir = pictures_in(&[
        ("train/a", 5),
        ("train/b", 5),
        ("val/a", 2),
        ("val/b", 2),
        ("test/a", 3),
        ("test/b", 4),
    ]);
    let of = |split, train| opened(&DataConfig { split, train, ..config() }, dir.path());
    assert_eq!(of(Scored::Val, Trained::Train).0, [10, 4, 2]);
    let (counts, text) = of(Scored::Test, Trained::All);
    assert_eq!(counts, [14, 7, 2]);
    assert!(text.contains(": 14 training and 7 test images, 2 classes"), "{text}");
    assert_eq!(of(Scored::All, Trained::Train).0, [10, 21, 2]);
    assert_eq!(of(Scored::Train, Trained::Train).0, [10, 10, 2]);
}

#[test]
fn class_folders_without_a_split_are_split_by_seed_and_class() {
    let dir = pictures_in(&[("bus", 20), ("train", 10), ("plane/deep/er", 5)]);
    let (counts, text) = opened(&config(), dir.path());
    assert_eq!(counts, [28, 7, 3]);
    assert!(text.contains("20 % of each class are held out"), "{text}");
    let val = |config: DataConfig| labels(&batches(&mut open_dir(&config, &dir).val, 0));
    assert_eq!(val(config()), [0, 0, 0, 0, 1, 2, 2]);
    assert_eq!(val(DataConfig { val_fraction: Some(0.5), ..config() }).len(), 10 + 5 + 3);
    // Training and held-out images are disjoint, and together all of them.
    let ids = |config: DataConfig| {
        let mut bytes = Vec::new();
        open_dir(&config, &dir).val.identify(&mut |more| bytes.extend_from_slice(more));
        let text = String::from_utf8(bytes).unwrap();
        text.lines().skip(3).map(str::to_string).collect::<Vec<_>>()
    };
    let (train, held) = (ids(DataConfig { split: Scored::Train, ..config() }), ids(config()));
    assert!(held.iter().all(|id| !train.contains(id)) && train.len() + held.len() == 35);
    assert_ne!(held, ids(DataConfig { split_seed: 1, ..config() }));
    let (counts, text) = opened(&DataConfig { train: Trained::All, ..config() }, dir.path());
    assert_eq!(counts, [35, 7, 3]);
    assert!(text.contains("the validation images are trained on"), "{text}");

    let message = open_error(&DataConfig { val_fraction: Some(1.0), ..config() }, dir.path());
    assert!(message.contains("val_fraction: expected"), "{message}");
    let message = open_error(&DataConfig { val_fraction: Some(0.1), ..config() }, folder().path());
    assert!(message.contains("validation images of its own"), "{message}");
}

#[test]
fn names_carry_the_class() {
    let names = ["3_17.jpg", "3_18.png", "10_1.png", "10_2.png", "2_1.gif", "2_4.webp"];
    let dir = pictures(&names);
    let message = open_error(&config(), dir.path());
    assert!(message.contains("6 images outside class folders (10_1.png)"), "{message}");
    assert!(message.contains("--class-pattern") && message.contains("train/CLASS/*.jpg"), "{message}");
    let named = DataConfig { class_pattern: Some("{class}_*".parse().unwrap()), batch: 1, ..config() };
    let splits = open_dir(&named, &dir);
    assert_eq!(splits.classes, ["2", "3", "10"]);
    assert_eq!((splits.train.samples(), splits.val.samples()), (3, 3));
    // With splits, as in Food-11.
    let dir = pictures(&["training/0_1.jpg", "training/1_1.jpg", "validation/0_9.jpg", "evaluation/1_0.jpg"]);
    assert_eq!(opened(&named, dir.path()).0, [2, 1, 2]);
    assert_eq!(opened(&DataConfig { split: Scored::Test, ..named.clone() }, dir.path()).0, [2, 1, 2]);
    write_picture(&dir.path().join("training/odd.png"), 1, 1);
    let message = open_error(&named, dir.path());
    assert!(
        message.contains("1 of 3 image names do not match the pattern `{class}_*`, for instance"),
        "{message}"
    );
}

#[test]
fn a_table_lists_paths_labels_and_splits() {
    let dir = pictures(&["a.png", "sub/b.jpg", "c.bmp", "d.tif", "unlisted.png"]);
    let table = dir.path().join("labels.csv");
    let rows = "a.png,x,train\nsub/b.jpg,y,train\nc.bmp,y,valid\nd.tif,x,test\n";
    fs::write(&table, format!("file,label,split\n{rows}")).unwrap();
    let by_table = DataConfig { batch: 1, ..config() };
    assert_eq!(opened(&by_table, &table).0, [2, 1, 2]);
    let by_option = DataConfig { labels: Some("labels.csv".into()), split: Scored::Test, ..by_table.clone() };
    assert_eq!(opened(&by_option, dir.path()).0, [2, 1, 2]);
    fs::write(&table, format!("wo;was;wann\n{}", rows.replace(',', ";"))).unwrap();
    assert!(open_error(&by_option, dir.path()).contains("no column of path among wo, was, wann"));
    let columns = Columns { path: Some("wo".into()), label: Some("was".into()), split: Some("wann".into()) };
    assert_eq!(opened(&DataConfig { columns, ..by_option }, dir.path()).0, [2, 1, 2]);
}

#[test]
fn nested_folders_and_every_format_are_read_and_the_rest_is_counted() {
    let files = ["0.png", "x.bmp", "x.gif", "x.tif", "x.webp", "camera/one/1.png", "camera/.hidden/2.png"];
    let in_class = |split: &str, class: &str| files.map(|file| format!("{split}/{class}/{file}"));
    let all: Vec<String> =
        ["train", "val"].iter().flat_map(|s| ["a", "b"].iter().flat_map(|c| in_class(s, c))).collect();
    let dir = pictures(&all.iter().map(String::as_str).collect::<Vec<_>>());
    fs::write(dir.path().join("train/a/notes.txt"), "").unwrap();
    fs::write(dir.path().join("train/a/x.heic"), "").unwrap();
    fs::create_dir(dir.path().join("__MACOSX")).unwrap();
    let (counts, text) = opened(&config(), dir.path());
    assert_eq!(counts, [12, 12, 2]);
    assert!(text.contains("; ignored 2 files (.heic, .txt), 2 folders (.hidden, __MACOSX)"), "{text}");
    assert_eq!(opened(&DataConfig { hidden: true, ..config() }, dir.path()).0, [14, 14, 2]);
    let mut val = open_dir(&config(), &dir).val;
    assert_eq!(labels(&batches(&mut val, 0)).len(), 12, "all decode");
}

#[test]
#[cfg(target_os = "linux")]
fn names_that_are_not_unicode_are_read() {
    use std::os::unix::ffi::OsStrExt;
    let dir = pictures_in(&[("train/a", 2), ("val/a", 2), ("val/b", 2)]);
    let class = dir.path().join(std::ffi::OsStr::from_bytes(b"train/caf\xE9"));
    fs::rename(dir.path().join("val/b"), &class).unwrap();
    fs::rename(class.join("0.png"), class.join(std::ffi::OsStr::from_bytes(b"\xFF.png"))).unwrap();
    let mut splits = open_dir(&DataConfig { batch: 1, ..config() }, &dir);
    assert_eq!(splits.folders, ["a", "caf\u{FFFD}"]);
    assert_eq!(labels(&batches(&mut splits.train, 0)).len(), 4);
}

#[test]
fn a_class_may_be_missing_from_a_split() {
    let dir = pictures_in(&[("train/a", 2), ("train/b", 2), ("val/a", 2), ("val/c", 1)]);
    let (counts, text) = opened(&config(), dir.path());
    assert_eq!(counts, [4, 3, 3]);
    assert!(text.contains("no training images of c") && text.contains("no validation images of b"), "{text}");
    let val = |splits: &mut Splits| labels(&batches(&mut splits.val, 0));
    assert_eq!(val(&mut open_dir(&config(), &dir)), [0, 0, 2]);

    // Only val/, scored with the classes of a network.
    let classes = Some(["z", "c", "a"].map(String::from).to_vec());
    let dir = pictures_in(&[("val/a", 2), ("val/c", 1)]);
    let mut splits = open_dir(&DataConfig { classes, ..config() }, &dir);
    assert_eq!(val(&mut splits), [2, 2, 1]);
    assert_eq!(splits.folders, ["z", "c", "a"]);
    let message = splits.train.epoch(0).err().unwrap().to_string();
    assert!(message.contains("there are no images to train on"), "{message}");
}

#[test]
fn numbered_folders_match_numbered_classes_by_number() {
    let folders: Vec<String> = (0..12).map(|i| format!("val/{i}")).collect();
    let dir = pictures_in(&folders.iter().map(|folder| (folder.as_str(), 1)).collect::<Vec<_>>());
    let val = |classes: Option<Vec<String>>, dir: &TempDir| {
        let mut splits = open_dir(&DataConfig { classes, ..config() }, dir);
        labels(&batches(&mut splits.val, 0))
    };
    let in_order: Vec<u32> = (0..12).collect();
    let mut found = val(None, &dir);
    found.sort_unstable();
    assert_eq!(found, in_order);
    let numbered = || Some((0..43).map(|class| class.to_string()).collect::<Vec<_>>());
    // Images are in the order of their paths: 0, 1, 10, 11, 2, ….
    assert_eq!(val(numbered(), &dir), [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
    let padded = pictures_in(&[("val/00007", 1), ("val/00042", 1)]);
    assert_eq!(val(numbered(), &padded), [7, 42]);
    let named = pictures_in(&[("val/cat", 1), ("val/dog", 1)]);
    let message = open_error(&DataConfig { classes: numbered(), ..config() }, named.path());
    assert!(message.contains("are not those of the images (cat, dog)"), "{message}");
}

#[test]
fn one_class_and_empty_classes_need_an_option() {
    let dir = pictures_in(&[("train/a", 2), ("val/a", 1)]);
    let message = open_error(&config(), dir.path());
    assert!(message.contains("only one class (a)") && message.contains("--one-class"), "{message}");
    assert_eq!(opened(&DataConfig { one_class: true, ..config() }, dir.path()).0, [2, 1, 1]);

    let dir = pictures_in(&[("train/a", 2), ("train/b", 1), ("val/a", 1)]);
    fs::create_dir_all(dir.path().join("train/empty")).unwrap();
    let message = open_error(&config(), dir.path());
    assert!(message.contains("no images in the class folder empty: --empty-classes drop"), "{message}");
    let of = |empty_classes| opened(&DataConfig { empty_classes, ..config() }, dir.path()).0;
    assert_eq!([of(EmptyClasses::Drop), of(EmptyClasses::Keep)], [[3, 1, 2], [3, 1, 3]]);
}

#[test]
fn a_directory_that_is_not_understood_is_described() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("labels.csv"), "").unwrap();
    let message = open_error(&config(), dir.path());
    assert!(message.contains("found 1 table (labels.csv); ignored 1 file (.csv)"), "{message}");
    assert!(message.contains("--labels labels.csv"), "{message}");
    let message = open_error(&config(), &dir.path().join("absent"));
    assert!(
        message.contains("absent: expected a directory of images, found nothing of this name"),
        "{message}"
    );
    let message = open_error(&DataConfig { split: Scored::Test, ..config() }, folder().path());
    assert!(message.contains("split: there are no test images, only train and val"), "{message}");
}

#[test]
fn the_labels_of_idx_files_are_fixed() {
    let with = |classes: Vec<String>| {
        let config = DataConfig { classes: Some(classes), ..DataConfig::new(DataName::FashionMnist) };
        open(&config, None, 0).map(|splits| splits.summary.to_string())
    };
    let mut names = open(&DataConfig::new(DataName::FashionMnist), None, 0).unwrap().classes;
    assert!(!with(names.clone()).unwrap().contains("order"));
    assert!(with((0..10).map(|i| i.to_string()).collect()).unwrap().contains("matched in their order"));
    names.swap(0, 1);
    assert!(with(names.clone()).err().unwrap().to_string().contains("labels of these files are fixed"));
    names.push("Scarf".into());
    assert!(with(names).is_err());
}

/// A tree like that of GTSRB: class folders to train on, and a table of the test images whose labels are plain numbers.
fn signs() -> (TempDir, DataConfig) {
    let track = |class: &str, images: usize| -> Vec<String> {
        (0..images).map(|i| format!("Final_Training/Images/{class}/{:05}_{:05}.png", i / 3, i % 3)).collect()
    };
    let test: Vec<String> = (0..4).map(|i| format!("Final_Test/Images/{i}.png")).collect();
    // ⌊n / 3⌋ tracks give 1 of 5, 2 of 10 and 0 of 4, each with three images.
    let all = [track("00000", 15), track("00002", 31), track("00011", 14), test].concat();
    let dir = pictures(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let table = "Filename;Width;ClassId\n0.png;9;11\n1.png;9;2\n2.png;9;2\n3.png;9;0\n";
    fs::write(dir.path().join("Final_Test/GT.csv"), table).unwrap();
    let part = |split, path: &str, labels: Option<&str>| Part {
        split,
        path: path.into(),
        labels: labels.map(Into::into),
        columns: Columns::default(),
        class_pattern: None,
    };
    let parts = vec![
        part(Split::Train, "Final_Training/Images", None),
        part(Split::Test, "Final_Test/Images", Some("Final_Test/GT.csv")),
    ];
    let config = DataConfig { parts, val_track: Some(3), val_fraction: Some(0.2), ..config() };
    (dir, config)
}

#[test]
fn parts_are_folders_with_splits_and_whole_tracks_are_held_out() {
    let (dir, config) = signs();
    let splits = open_dir(&config, &dir);
    assert_eq!(splits.folders, ["00000", "00002", "00011"]);
    let mut held = splits.val.names();
    held.sort();
    let name =
        |class: &str, track: usize, i: usize| format!("Final_Training/Images/{class}/{track:05}_{i:05}.png");
    let mut expected: Vec<String> = (0..3).map(|i| name("00000", 0, i)).collect();
    expected
        .extend((0..2).flat_map(|track| (0..3).map(move |i| (track, i))).map(|(t, i)| name("00002", t, i)));
    assert_eq!(held, expected);
    assert_eq!(opened(&config, dir.path()).0, [51, 9, 3]);
    let mut test = open_dir(&DataConfig { split: Scored::Test, ..config.clone() }, &dir).val;
    assert_eq!(labels(&batches(&mut test, 0)), [2, 1, 1, 0]);
    let all = DataConfig { train: Trained::All, split: Scored::Test, ..config.clone() };
    assert_eq!(opened(&all, dir.path()).0, [60, 4, 3]);
    let wrong = |change: &dyn Fn(&mut DataConfig)| {
        let mut config = config.clone();
        change(&mut config);
        open_error(&config, dir.path())
    };
    let message = wrong(&|config| config.parts[0].path = "Images".into());
    assert!(message.contains("Images: expected a directory of images"), "{message}");
    let message = wrong(&|config| config.labels = Some("x.csv".into()));
    assert!(message.starts_with("parts: each part has its own `labels`"), "{message}");
    let message = wrong(&|config| config.val_track = Some(0));
    assert!(message.starts_with("val_track: expected at least 1"), "{message}");
    fs::write(dir.path().join("Final_Test/GT.csv"), "Filename;ClassId\n0.png;7\n").unwrap();
    let message = open_error(&config, dir.path());
    assert!(
        message.contains("Final_Test/Images") && message.contains("are not those of the images (7)"),
        "{message}"
    );
}

#[test]
fn some_classes_keep_the_labels_of_all() {
    let (dir, config) = signs();
    let some = DataConfig { only_classes: vec!["2".into(), "00011".into()], ..config.clone() };
    let (counts, summary) = opened(&some, dir.path());
    assert_eq!(counts, [39, 6, 3]);
    assert!(summary.contains("only images of 2, 00011 are used, 2 of 3 classes"), "{summary}");
    assert_eq!(open_dir(&some, &dir).train.class_counts(), [0, 25, 14]);
    let unknown = DataConfig { only_classes: vec!["5".into()], ..config };
    assert!(open_error(&unknown, dir.path()).starts_with("only_classes: "));
}

#[test]
fn a_limit_of_training_images_leaves_all_images_to_score() {
    let dir = pictures_in(&[("train/a", 5), ("train/b", 3), ("val/a", 4), ("val/b", 4)]);
    let of = |train_limit, limit| opened(&DataConfig { train_limit, limit, ..config() }, dir.path()).0;
    assert_eq!(of(Some(4), None), [7, 8, 2]);
    assert_eq!(of(Some(4), Some(2)), [4, 4, 2]);
    assert_eq!(of(Some(1), Some(2)), [2, 4, 2]);
    assert!(
        open_error(&DataConfig { train_limit: Some(0), ..config() }, dir.path()).starts_with("train_limit: ")
    );
}
