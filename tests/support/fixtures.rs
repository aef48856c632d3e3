//! The reference values under `tests/fixtures`, permuted to lopper's channels-last layouts.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Returns the path `tests/fixtures/NAME`.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Tensors of one file.
pub struct Fixture(Vec<u8>);

impl Fixture {
    /// Reads `tests/fixtures/NAME`.
    pub fn open(name: &str) -> Self {
        let path = path(name);
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn view(&self, name: &str) -> TensorView<'_> {
        let file = SafeTensors::deserialize(&self.0).expect("a fixture is a safetensors file");
        file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Returns the shape as stored.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.view(name).shape().to_vec()
    }

    /// Returns the values of an `F32` tensor as stored.
    pub fn stored(&self, name: &str) -> Vec<f32> {
        let view = self.view(name);
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// Returns the values of an `F32` tensor, channels last: `N,C,H,W → N,H,W,C` and `O,I,H,W → O,H,W,I`; others as
    /// stored.
    pub fn values(&self, name: &str) -> Vec<f32> {
        let stored = self.stored(name);
        let &[outer, c, h, w] = &self.shape(name)[..] else {
            return stored;
        };
        let pixels = (0..outer).flat_map(|n| (0..h * w).map(move |pixel| n * c * h * w + pixel));
        pixels.flat_map(|first| (0..c).map(move |ch| first + ch * h * w)).map(|i| stored[i]).collect()
    }

    /// Returns the values of an `I64` tensor of class indices.
    pub fn classes(&self, name: &str) -> Vec<u32> {
        let view = self.view(name);
        assert_eq!(view.dtype(), Dtype::I64, "{name}");
        view.data().chunks_exact(8).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// Returns the values of a `U8` tensor as stored.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let view = self.view(name);
        assert_eq!(view.dtype(), Dtype::U8, "{name}");
        view.data().to_vec()
    }
}

/// One case of `tests/fixtures/pytorch/cases.json`.
#[derive(Deserialize)]
pub struct Case {
    /// Name of the file without its extension.
    pub name: String,
    /// Operation.
    pub op: String,
    /// Options of the operation, by PyTorch's names.
    pub attrs: serde_json::Value,
}

impl Case {
    /// Returns all cases.
    pub fn all() -> Vec<Self> {
        #[derive(Deserialize)]
        struct List {
            cases: Vec<Case>,
        }
        let text = std::fs::read_to_string(path("pytorch/cases.json")).expect("the list of cases");
        serde_json::from_str::<List>(&text).expect("the list of cases is JSON").cases
    }

    /// Opens the tensors of the case.
    pub fn tensors(&self) -> Fixture {
        Fixture::open(&format!("pytorch/{}.safetensors", self.name))
    }

    /// Returns a numeric option.
    pub fn number(&self, name: &str) -> f32 {
        self.attrs[name].as_f64().unwrap_or_else(|| panic!("{}: no number {name}", self.name)) as f32
    }

    /// Returns an integer option.
    pub fn count(&self, name: &str) -> usize {
        self.attrs[name].as_u64().unwrap_or_else(|| panic!("{}: no count {name}", self.name)) as usize
    }

    /// Returns an option `[height, width]`.
    pub fn pair(&self, name: &str) -> [usize; 2] {
        serde_json::from_value(self.attrs[name].clone())
            .unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))
    }

    /// Returns a Boolean option.
    pub fn flag(&self, name: &str) -> bool {
        self.attrs[name].as_bool().unwrap_or_else(|| panic!("{}: no flag {name}", self.name))
    }
}
