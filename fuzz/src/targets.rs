//! The fuzz targets: each treats the input as a file of one kind and processes it like the command line.

use crate::exercise::exercise;
use lopper::page::{page, picture, sensitivity_page};
use lopper::recipe::{Recipe, model_path};
use lopper::report::{Report, csv as report_csv, short, wide};
use lopper::sensitivity::Sensitivity;
use lopper_compress::prune::{Constants, PrunePlan, PruneStage, prune};
use lopper_compress::sparsify::SparsifyConfig;
use lopper_engine::info::{Preparation, Resize};
use lopper_engine::torchvision::Assignment;
use lopper_engine::train::Checkpoint;
use lopper_engine::{Graph, file, memory, onnx as onnx_file, torchvision};
use lopper_models::builder::{Builder, Conv};
use lopper_models::data::steps::{self, Steps};
use lopper_models::data::{
    Cut, DataConfig, DataName, Dataset, IdxArray, IdxImages, Normalize, Scratch, Transform, decode_file,
    generator, imagenette,
};
use serde_json::Value;
use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;

/// Processes bytes as the command line processes a file with this content.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const ALL: [(&str, Target); 13] = [
    ("checkpoint", checkpoint),
    ("csv", csv),
    ("idx", idx),
    ("image", image),
    ("model", model),
    ("onnx", onnx),
    ("plan", plan),
    ("pth", pth),
    ("recipe", recipe),
    ("report", report),
    ("sensitivity", sensitivity),
    ("table", table),
    ("weights", weights),
];

/// Memory limit of the targets in bytes, the same on every machine.
const MEMORY: u64 = 2 << 30;

/// The file of external data beside each ONNX file.
pub const DATA: &str = "data.bin";

/// Small network to import weights into and to apply pruning plans to.
static NETWORK: LazyLock<Graph> = LazyLock::new(|| {
    let classes = lopper_models::numbered_classes(2);
    let options = lopper_models::Options { width: 0.03, ..lopper_models::Options::new(classes, [32, 32, 3]) };
    lopper_models::build("resnet8", &options).expect("a built-in architecture")
});

/// Network whose weights the files of PyTorch in the corpus hold (`engine/tests/fixtures/pth/make.py`).
static TINY: LazyLock<Graph> = LazyLock::new(|| {
    let mut net = Builder::new([1, 2, 1], None);
    net.conv("features.0", Conv { kernel: [1, 3], padding: [0, 1], ..Conv::new(2, 1) });
    net.flatten("flatten").batch_norm("bn").linear("fc", 4);
    let mut graph = net.finish().expect("a valid network");
    graph.info.input = [1, 2, 1];
    graph
});

/// Creates a temporary directory, in memory if possible, because its files are synced often.
fn scratch() -> TempDir {
    memory::set_limit(MEMORY);
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).expect("a place for temporary files")
}

/// Writes `data` to the file `name` in a fresh directory.
fn file_of(data: &[u8], name: &str) -> (TempDir, PathBuf) {
    let directory = scratch();
    let path = directory.path().join(name);
    std::fs::write(&path, data).expect("a temporary file");
    (directory, path)
}

/// Loads `data` as the header of a model file with matching tensors.
pub fn model(data: &[u8]) {
    let (directory, path) = file_of(&model_file(data), "m.safetensors");
    if let Ok(graph) = file::load(&path) {
        exercise(&graph, &directory.path().join("out.safetensors"));
    }
}

/// Returns a model file with `header` and values for the tensors in it: small numbers, zeros and ones in masks, and twos in
/// shapes.
pub fn model_file(header: &[u8]) -> Vec<u8> {
    const LONGEST: u64 = 1 << 20;
    let mut body = Vec::new();
    if let Ok(Value::Object(tensors)) = serde_json::from_slice(header) {
        let place = |tensor: &Value, end: usize| {
            tensor["data_offsets"][end].as_u64().unwrap_or(0).min(LONGEST) as usize
        };
        let end = tensors.values().map(|tensor| place(tensor, 1)).max().unwrap_or(0);
        let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 7) as f32 % 2001.0 / 1000.0 + 0.001;
        body = (0..end.div_ceil(4)).flat_map(|i| value(i as u32).to_le_bytes()).collect();
        body.truncate(end);
        let mut fill = |dtype: &str, value: &dyn Fn(usize) -> u8| {
            for tensor in tensors.values().filter(|tensor| tensor["dtype"] == dtype) {
                let (start, end) = (place(tensor, 0), place(tensor, 1));
                for (i, byte) in body.iter_mut().enumerate().take(end).skip(start) {
                    *byte = value(i);
                }
            }
        };
        fill("U8", &|i| u8::from(i % 3 != 0));
        fill("I64", &|i| if i % 8 == 0 { 2 } else { 0 });
    }
    [&(header.len() as u64).to_le_bytes(), header, &body].concat()
}

/// Reads `data`, a whole weights file, as a model and as weights to import.
pub fn weights(data: &[u8]) {
    let (_directory, path) = file_of(data, "w.safetensors");
    let _ = file::load(&path);
    import(&NETWORK, &path);
}

/// Reads `data` as a file of PyTorch with the weights of a small network.
pub fn pth(data: &[u8]) {
    let (_directory, path) = file_of(data, "w.pth");
    import(&TINY, &path);
}

/// Reads the file `path` as weights of `graph`, by their names and by their order.
fn import(graph: &Graph, path: &Path) {
    let _ = torchvision::import_weights(&mut graph.clone(), path);
    let by_order = Assignment { by_order: true, ..Assignment::named(&|_| None) };
    let _ = torchvision::import_assigned(&mut graph.clone(), path, &by_order);
}

/// Reads `data` as an ONNX file, beside [`DATA`]. If it is accepted, the network must survive everything that the command line
/// does with it, and being written as ONNX.
pub fn onnx(data: &[u8]) {
    let (directory, path) = file_of(data, "n.onnx");
    std::fs::write(directory.path().join(DATA), external_numbers()).expect("a temporary file");
    let options = onnx_file::ImportOptions { side: Some(8) };
    let Ok(imported) = onnx_file::import(&path, &options) else { return };
    exercise(&imported.graph, &directory.path().join("out.safetensors"));
    let again = directory.path().join("again.onnx");
    let _ = onnx_file::export(&imported.graph, &again, &onnx_file::OnnxOptions::default());
}

/// The content of [`DATA`]: 1024 bytes of numbers from −2 to 2.
pub fn external_numbers() -> Vec<u8> {
    (-128..128i16).flat_map(|i| (f32::from(i) / 64.0).to_le_bytes()).collect()
}

/// Reads `data` as a whole checkpoint. If it is accepted, it must survive being written and read again.
pub fn checkpoint(data: &[u8]) {
    let (directory, path) = file_of(data, "c.safetensors");
    let Ok(checkpoint) = Checkpoint::read(&path) else { return };
    let again = directory.path().join("again.safetensors");
    checkpoint.write(&again).expect("an accepted checkpoint can be written");
    let read = Checkpoint::read(&again).expect("a written checkpoint can be read");
    assert_eq!(read.position, checkpoint.position);
}

/// Reads `data` as a recipe. If it is accepted, its schedules and plans must be valid.
pub fn recipe(data: &[u8]) {
    let (_directory, path) = file_of(data, "r.toml");
    let Ok(recipe) = Recipe::read(&path, None) else { return };
    for (i, stage) in recipe.stages.iter().enumerate() {
        let _ = (stage.summary(), model_path(Path::new("x"), i, stage));
        for done in [0.0, 0.3, 1.0] {
            if let Some(train) = &stage.train {
                let largest = train.largest_rate().expect("checked");
                let rates = train.schedule.at(largest, done);
                assert!(!rates.learning_rate.is_nan(), "the learning rate is NaN: {train:?}");
            }
        }
        for technique in &stage.techniques {
            let technique: &dyn Any = &**technique;
            // The sparsities of a target are chosen from the trained network.
            let config = technique.downcast_ref::<SparsifyConfig>().filter(|config| config.target.is_none());
            if let Some(config) = config {
                for done in [0.0, 0.3, 1.0] {
                    let sparsity = config.sparsity_at(done).expect("its options are checked");
                    assert!((0.0..=1.0).contains(&sparsity), "a sparsity of {sparsity}: {config:?}");
                }
            }
            if let Some(PruneStage { prune: Some(config), plan: Some(plan), .. }) = technique.downcast_ref() {
                replay(plan, config.constants);
            }
        }
    }
    let _ = recipe.quick();
}

/// Reads `data` as a pruning plan.
pub fn plan(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(plan) = toml::from_str::<PrunePlan>(text) {
        replay(&plan, Constants::Exact);
    }
}

/// Applies `plan`. If it succeeds, the shapes of the network must be valid.
fn replay(plan: &PrunePlan, constants: Constants) {
    if let Ok(rewrite) = prune(&NETWORK, plan, constants) {
        let [h, w, c] = rewrite.graph.info.input;
        rewrite.graph.shapes([1, h, w, c]).expect("a pruned network runs");
    }
}

/// Reads `data` as IDX files. The first byte determines where the rest is split into images and labels.
pub fn idx(data: &[u8]) {
    memory::set_limit(MEMORY);
    let Some((&cut, rest)) = data.split_first() else { return };
    let (images, labels) = rest.split_at(rest.len() * usize::from(cut) / 256);
    let name = Path::new("x");
    let (Ok(images), Ok(labels)) = (IdxArray::parse(images, name), IdxArray::parse(labels, name)) else {
        return;
    };
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    if let Ok(mut set) = IdxImages::new(images, labels, [name, name], classes, 32) {
        set.limit(2);
        for i in 0..set.len().min(3) {
            let _ = (set.label(i), set.image(i));
        }
    }
}

/// Reads `data` as an image. If it is accepted, every augmentation must return finite numbers.
pub fn image(data: &[u8]) {
    let (_directory, path) = file_of(data, "i.jpg");
    let Ok(image) = decode_file(&path) else { return };
    if u64::from(image.width()) * u64::from(image.height()) > 1 << 20 {
        return;
    }
    let steps = steps::preset("get_transforms", 4).expect("a preset");
    let steps = Steps::new(steps, 4).expect("a valid preset");
    let cuts = [
        (8, Cut::Center { fraction: 0.875 }),
        (1, Cut::Resized { scale: [0.35, 1.0], ratio: [0.75, 4.0 / 3.0] }),
        (5, Cut::Padded { padding: 3 }),
        (3, Cut::Center { fraction: 1e-9 }),
        (4, Cut::Resized { scale: [1e-12, 1e-6], ratio: [1e-6, 1e3] }),
        (6, Cut::Prepared(Preparation::torchvision(9))),
        (7, Cut::Prepared(Preparation { resize: Resize::None, ..Preparation::torchvision(9) })),
        (4, Cut::Steps { steps, preparation: Preparation::center(1.0) }),
    ];
    for (size, cut) in cuts {
        let normalize = Normalize::new([0.5; 3], [0.5; 3]).expect("a deviation above 0");
        let transform = Transform { size, cut: cut.clone(), flip: 0.5, normalize };
        let mut out = vec![0.0; size * size * 3];
        transform.apply(&image, &mut generator(data.len() as u64, 0, 0), &mut Scratch::default(), &mut out);
        assert!(out.iter().all(|v| v.is_finite()), "{cut:?}");
    }
}

/// Reads `data` as a table of noisy labels.
pub fn csv(data: &[u8]) {
    let (_directory, path) = file_of(data, "t.csv");
    let _ = imagenette::noisy_labels(&path, 1);
}

/// Reads `data` as the report of a run, and draws its page, its picture and its tables again.
pub fn report(data: &[u8]) {
    let Ok(report) = serde_json::from_slice::<Report>(data) else { return };
    let stages = &report.stages;
    let _ = (page("x", &report), picture("x", stages), short(stages), wide(stages), report_csv(stages));
}

/// Reads `data` as the prices of a network's cuts, and draws their page and their table again.
pub fn sensitivity(data: &[u8]) {
    let Ok(found) = serde_json::from_slice::<Sensitivity>(data) else { return };
    let _ = (sensitivity_page("x", &found), found.text());
}

/// Reads `data` as a table of images and their labels. If it is accepted, each image must have one of the classes.
pub fn table(data: &[u8]) {
    let (directory, _) = file_of(data, "t.csv");
    for name in ["a.ppm", "b.ppm", "c.ppm", "d.ppm"] {
        std::fs::write(directory.path().join(name), b"P6 1 1 255\nrgb").expect("a temporary file");
    }
    let (path, labels) = (Some(directory.path().to_path_buf()), Some("t.csv".into()));
    let config = DataConfig { path, labels, size: Some(2), batch: 1, ..DataConfig::new(DataName::Folder) };
    if let Ok(splits) = config.open(1) {
        let counts = splits.train.class_counts();
        assert_eq!(counts.len(), splits.classes.len(), "a count for each class");
    }
}
