//! Writes the seeds of the corpus: `cargo test --release --test fuzz_corpus -- --ignored write_the_seeds`. Findings are
//! added by hand.

use crate::networks;
use flate2::{Compression, write::GzEncoder};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use lopper::machine::NetworkClock;
use lopper::sensitivity::{Followed, Following, Point, Sensitivity, Tally};
use lopper_engine::file;
use lopper_engine::onnx::{self, Batch, CompactForm, MIN_OPSET, OnnxOptions};
use lopper_engine::train::metrics::wilson95;
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

/// Name and content of a file.
type Seed = (String, Vec<u8>);

/// Returns the name and seeds of each target.
pub fn seeds() -> Vec<(&'static str, Vec<Seed>)> {
    let headers =
        networks::all().into_iter().map(|(name, model)| (name.to_string(), model.header())).collect();
    let whole = networks::all().into_iter().map(|(name, model)| (name.to_string(), model.bytes()));
    vec![
        ("checkpoint", crate::checkpoints::seeds()),
        ("csv", tables()),
        ("idx", idx_files()),
        ("image", images()),
        ("model", headers),
        ("onnx", onnx_files()),
        ("plan", plans()),
        ("pth", pytorch_files()),
        ("recipe", recipes()),
        ("report", reports()),
        ("sensitivity", prices()),
        ("table", tables_of_images()),
        ("weights", whole.filter(|(_, bytes)| bytes.len() < 4000).collect()),
    ]
}

#[test]
#[ignore = "writes the files that the other tests read"]
fn write_the_seeds() {
    for (target, files) in seeds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
        }
    }
}

/// The networks as ONNX, each with other options, and files by hand.
fn onnx_files() -> Vec<Seed> {
    let folder = tempfile::tempdir().unwrap();
    let [model, out] = ["m.safetensors", "n.onnx"].map(|name| folder.path().join(name));
    let written = |(i, (name, network)): (u32, (&str, crate::model_file::ModelFile))| {
        std::fs::write(&model, network.bytes()).unwrap();
        let batch = if i.is_multiple_of(2) { Batch::Any } else { Batch::Fixed(1) };
        let compact = if i > 3 { CompactForm::Dense } else { CompactForm::Gather };
        let options = OnnxOptions { opset: MIN_OPSET + 2 * i % 12, batch, compact, ..OnnxOptions::default() };
        onnx::export(&file::load(&model).unwrap(), &out, &options).unwrap();
        (name.to_string(), std::fs::read(&out).unwrap())
    };
    let networks = (0..).zip(networks::all()).map(written).filter(|(_, bytes)| bytes.len() < 8000);
    networks.chain(crate::onnx_seeds::seeds()).collect()
}

fn recipes() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: std::path::PathBuf| {
        (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    };
    let mut all: Vec<_> = entries.map(named).collect();
    all.push(("everything".into(), include_bytes!("everything.toml").to_vec()));
    all.push(("steps".into(), include_bytes!("steps.toml").to_vec()));
    all
}

fn plans() -> Vec<Seed> {
    let group = |layers: &str, units: usize, keep: &str| {
        format!("[[groups]]\nlayers = [{layers}]\nunits = {units}\nkeep = [{keep}]\n")
    };
    [
        ("one", group("\"conv1\"", 1, "0")),
        ("two", group("\"conv1\"", 1, "0") + &group("\"layer1.0.conv1\", \"layer1.0.conv2\"", 2, "0, 1")),
        ("empty", "groups = []\n".into()),
    ]
    .map(|(name, text)| (name.to_string(), text.into_bytes()))
    .into()
}

fn pytorch_files() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/fixtures/pth");
    let stored = [
        "zip",
        "legacy",
        "legacy4",
        "views",
        "legacy_views",
        "checkpoint",
        "arguments",
        "parameters",
        "protocol4",
        "half",
    ];
    let mut all: Vec<Seed> = stored
        .map(|name| (name.to_string(), std::fs::read(folder.join(format!("{name}.pth"))).unwrap()))
        .into();
    all.push(("call".into(), b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.".to_vec()));
    all
}

fn tables() -> Vec<Seed> {
    [
        ("plain", "path,noisy_labels_1\ntrain/a/0.png,a\n\"x,y\",b\n"),
        ("more", "path,noisy_labels_0,noisy_labels_1,is_valid\ntrain/a/0.png,a,b,False\n"),
        ("quote", "path,noisy_labels_1\n\"train/a/0.png,a\n"),
        ("short", "path,noisy_labels_1\ntrain/a/0.png\n"),
    ]
    .map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()))
    .into()
}

/// A run of two stages, with one element of each list.
fn reports() -> Vec<Seed> {
    let none = r#"{"stages":[],"run":null}"#;
    vec![("run".into(), include_bytes!("report.json").to_vec()), ("empty".into(), none.into())]
}

/// The prices of two cuts, and of the plan that follows.
fn prices() -> Vec<Seed> {
    let of = |correct: usize, ms: f64| Tally {
        correct,
        images: 100,
        top1: correct as f64 / 100.0,
        interval: wilson95(correct as f64 / 100.0, 100.0),
        ms,
        params: 1000,
        macs: 20_000,
    };
    let point = |fraction: f64, correct, lost| {
        Point::new("prune".into(), vec!["conv1".into()], fraction, of(correct, 1.0 - fraction), [lost, 1])
    };
    let cut = Followed { layers: vec!["conv1".into()], fraction: 0.25, loss: 0.01 };
    let found = Sensitivity {
        model: "m.safetensors".into(),
        criterion: "taylor".into(),
        images: 100,
        of_images: 200,
        binding: BTreeMap::from([("seed".into(), "0".into())]),
        clock: NetworkClock::default(),
        planned: 2,
        uncut: of(80, 1.0),
        points: vec![point(0.25, 79, 2), point(0.5, 70, 11)],
        plan: Some(Following { tolerance: 0.02, cuts: vec![cut], together: Some(point(0.25, 79, 2)) }),
    };
    vec![("plan".into(), serde_json::to_vec(&found).unwrap())]
}

fn tables_of_images() -> Vec<Seed> {
    [
        ("split", "file,label,is_valid\na.ppm,x,False\nb.ppm,y,0\nc.ppm,x,True\nd.ppm,y,1\n"),
        ("numbers", "path;class\r\na;10\r\nb.ppm;2\r\n\"c.ppm\";2\r\nd;10\r\n"),
        ("twice", "\u{feff}id,label\na.ppm,x\na.ppm,y\n"),
        ("absent", "image,label\na.ppm,x\n../b.ppm,y\n"),
        ("short", "image,label\na.ppm\n"),
    ]
    .map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()))
    .into()
}

fn idx_files() -> Vec<Seed> {
    let idx = |dims: &[u32], values: &[u8]| {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
        bytes.extend(values);
        bytes
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    // The first byte is the end of the images, in 256ths of the rest, rounded down.
    let pair = |images: &[u8], labels: &[u8]| {
        let (total, images_len) = (images.len() + labels.len(), images.len());
        let cut = (0..=255).find(|&cut| total * usize::from(cut) / 256 == images_len).expect("images fit");
        [&[cut], images, labels].concat()
    };
    let (images, labels) = (idx(&[3, 4, 5], &[7; 60]), idx(&[3], &[0, 1, 9]));
    let bomb = gzip(&idx(&[4, 512, 512], &vec![0; 4 << 18]));
    vec![
        ("plain".into(), pair(&images, &labels)),
        ("gzip".into(), pair(&gzip(&images), &gzip(&labels))),
        ("claim".into(), [&[255][..], &idx(&[65_535, 65_535, 1], &[]), &[0; 20]].concat()),
        ("bomb".into(), [&[255][..], &bomb, &[0; 4]].concat()),
    ]
}

fn images() -> Vec<Seed> {
    let picture =
        RgbImage::from_fn(17, 11, |x, y| Rgb([(x * 15) as u8, (y * 23) as u8, ((x ^ y) * 9) as u8]));
    let encoded = |image: DynamicImage, format: ImageFormat| {
        let mut bytes = Vec::new();
        image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    };
    let rgb = DynamicImage::from(picture);
    let mut all: Vec<Seed> = vec![
        ("rgb.png".into(), encoded(rgb.clone(), ImageFormat::Png)),
        ("gray.png".into(), encoded(rgb.to_luma8().into(), ImageFormat::Png)),
        ("rgba16.png".into(), encoded(rgb.to_rgba16().into(), ImageFormat::Png)),
        ("baseline.jpg".into(), encoded(rgb.clone(), ImageFormat::Jpeg)),
        ("gray.jpg".into(), encoded(rgb.to_luma8().into(), ImageFormat::Jpeg)),
        ("rgb.bmp".into(), encoded(rgb.clone(), ImageFormat::Bmp)),
        ("rgb.tif".into(), encoded(rgb.clone(), ImageFormat::Tiff)),
        ("rgb.webp".into(), encoded(rgb.clone(), ImageFormat::WebP)),
        ("rgba.gif".into(), encoded(rgb.to_rgba8().into(), ImageFormat::Gif)),
        ("p6.ppm".into(), encoded(rgb, ImageFormat::Pnm)),
        ("p1.pbm".into(), b"P1 3 2\n1 0 1 0 1 0".to_vec()),
        ("p2.pgm".into(), b"P2 3 2 255\n1 2 3 4 5 6".to_vec()),
        ("p3.ppm".into(), b"P3 1 2 255\n1 2 3 4 5 6".to_vec()),
        ("p6-huge.ppm".into(), b"P6 100000 100000 255\n".to_vec()),
        ("p7.pam".into(), b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01".to_vec()),
    ];
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tests/fixtures/jpeg");
    for entry in std::fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        all.push((path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()));
    }
    all
}
