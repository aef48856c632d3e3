//! Images that cannot be decoded: named, or skipped and listed.

use super::*;

/// Damages three training images of [`folder`]: one is empty, one truncated, and one not an image.
pub fn spoil(dir: &Path) -> [PathBuf; 3] {
    let [empty, cut, text] =
        ["n01440764/0.JPEG", "n02102040/2.jpg", "zebra/1.png"].map(|file| dir.join("train").join(file));
    fs::write(&empty, "").unwrap();
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).unwrap();
    fs::write(&text, "no picture").unwrap();
    [empty, cut, text]
}

#[test]
fn a_bad_image_is_an_error_that_names_it() {
    let dir = folder();
    let spoilt = spoil(dir.path());
    for workers in [0, 2] {
        let config = DataConfig { workers, ..config() };
        let mut train = open_dir(&config, &dir).train;
        let results: Vec<_> = train.epoch(0).unwrap().collect();
        let message = results.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(spoilt.iter().any(|path| message.starts_with(&path.display().to_string())), "{message}");
        // The ends of the files show it, so no batch comes before the error.
        assert!(
            results.len() == 1
                && message.ends_with(", and 2 other images cannot be decoded (--skip-bad-images)")
        );
        assert_eq!(train.require_readable().unwrap_err().to_string(), message);
    }
}

/// Changes bytes within the coded data of the training images of [`folder`], which only decoding notices.
fn damage(dir: &Path) -> PathBuf {
    let path = dir.join("train/n02102040/2.jpg");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 40..end - 10].fill(0xFF);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn an_image_that_is_damaged_inside_is_an_error_when_it_is_read() {
    let dir = folder();
    let path = damage(dir.path());
    for workers in [0, 2] {
        let config = DataConfig { workers, batch: 1, ..config() };
        let opened = open_dir(&config, &dir);
        assert_eq!(opened.summary.undecodable, 0);
        let mut train = opened.train;
        let results: Vec<_> = train.epoch(0).unwrap().collect();
        let message = results.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(results[..results.len() - 1].iter().all(Result::is_ok));
        let mut train = open_dir(&DataConfig { skip_bad_images: true, ..config }, &dir).train;
        assert_eq!((labels(&batches(&mut train, 0)).len(), train.skipped().len()), (17, 1));
    }
}

#[test]
fn images_that_cannot_be_decoded_are_counted_when_a_folder_is_opened() {
    let dir = folder();
    let spoilt = spoil(dir.path());
    let opened = open_dir(&DataConfig { skip_bad_images: true, ..config() }, &dir);
    assert_eq!((opened.summary.train, opened.train.skipped().len()), (15, 3));
    assert!(opened.summary.to_string().contains("skipped 3 that cannot be decoded"), "{}", opened.summary);
    let text = open_dir(&config(), &dir).summary.to_string();
    assert!(text.lines().next().unwrap().contains("; 3 images cannot be decoded"), "{text}");
    assert!(spoilt.iter().all(|path| text.contains(&path.display().to_string())), "{text}");
}

#[test]
fn the_first_error_does_not_depend_on_the_number_of_workers() {
    let dir = folder();
    damage(dir.path());
    let outcome = |workers| {
        let config = DataConfig { workers, batch: 1, ..config() };
        let mut train = open_dir(&config, &dir).train;
        let good = train.epoch(0).unwrap().take_while(Result::is_ok).count();
        (good, train.epoch(0).unwrap().find_map(Result::err).unwrap().to_string())
    };
    let one = outcome(1);
    assert_eq!((&outcome(3), &outcome(5)), (&one, &one));
}

#[test]
fn bad_images_are_skipped_and_listed_when_asked() {
    let dir = folder();
    let spoilt = spoil(dir.path());
    for (workers, batch) in [(0, 1), (1, 6), (3, 6)] {
        let config = DataConfig { workers, batch, skip_bad_images: true, ..config() };
        let mut train = open_dir(&config, &dir).train;
        for epoch in 0..2 {
            let seen = batches(&mut train, epoch);
            assert_eq!(labels(&seen).len(), 15);
            assert!(seen.iter().all(|b| !b.labels.is_empty() && b.images.dim(0) == b.labels.len()));
        }
        let skipped = train.skipped();
        assert_eq!(skipped.len(), 3);
        for (message, path) in skipped.iter().zip(&spoilt) {
            assert!(message.starts_with(&path.display().to_string()), "{message}");
        }
        assert!(skipped[0].contains("empty") && skipped[1].contains(" early"), "{skipped:?}");
    }
}
