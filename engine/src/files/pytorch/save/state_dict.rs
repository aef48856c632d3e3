//! A state dict: names of tensors in the order of the network.

use super::pickle::Pickle;
use super::zip::Zip;
use crate::files::tensor_file::Values;
use crate::{Error, Result, atomic};
use safetensors::Dtype;
use std::path::Path;

/// The folder of all entries. PyTorch takes the file's name, but reads any.
const FOLDER: &str = "archive";

/// Writes `tensors` to `path` atomically, in their order, such that `torch.load` reads them as an `OrderedDict`. The
/// same input gives the same bytes.
///
/// # Errors
/// [`Error::File`] if `path` cannot be written.
pub(crate) fn save(path: &Path, tensors: &[(String, Values)]) -> Result<()> {
    let pickle = pickle(tensors).map_err(|problem| Error::file(path, problem))?;
    atomic::write(path, |file| {
        let mut zip = Zip::new(file);
        let mut add =
            |name: &str, bytes: &[u8]| zip.add(&format!("{FOLDER}/{name}"), &|out| out.write_all(bytes));
        add("data.pkl", &pickle)?;
        add("byteorder", b"little")?;
        for (key, (_, values)) in tensors.iter().enumerate() {
            zip.add(&format!("{FOLDER}/data/{key}"), &|out| values.write(out))?;
        }
        zip.add(&format!("{FOLDER}/version"), &|out| out.write_all(b"3\n"))?;
        zip.finish()
    })
}

/// The dictionary, whose tensor `i` is the storage with the key `i`.
fn pickle(tensors: &[(String, Values)]) -> Result<Vec<u8>, String> {
    let mut pickle = Pickle::new();
    pickle.global("collections.OrderedDict");
    pickle.call_plain();
    pickle.mark();
    for (key, (name, values)) in tensors.iter().enumerate() {
        let (dtype, shape, _) = values.describe();
        let class = class(dtype).ok_or_else(|| format!("not written: PyTorch has no storage of {dtype}"))?;
        pickle.text(name);
        tensor(&mut pickle, class, key, &shape);
    }
    pickle.set_items();
    Ok(pickle.finish())
}

/// A call of `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`.
fn tensor(pickle: &mut Pickle, class: &'static str, key: usize, shape: &[usize]) {
    pickle.global("torch._utils._rebuild_tensor_v2");
    pickle.mark();
    // ('storage', class, key, device, elements)
    pickle.mark();
    pickle.constant("storage");
    pickle.global(class);
    pickle.text(&key.to_string());
    pickle.constant("cpu");
    pickle.integer(shape.iter().product());
    pickle.tuple();
    pickle.persistent();
    pickle.integer(0);
    pickle.sizes(shape);
    pickle.sizes(&strides(shape));
    pickle.no();
    pickle.global("collections.OrderedDict");
    pickle.call_plain();
    pickle.tuple();
    pickle.call();
}

/// The strides of elements in row-major order.
fn strides(shape: &[usize]) -> Vec<usize> {
    (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect()
}

/// The class of storages of a type.
fn class(dtype: Dtype) -> Option<&'static str> {
    match dtype {
        Dtype::F32 => Some("torch.FloatStorage"),
        Dtype::F64 => Some("torch.DoubleStorage"),
        Dtype::I64 => Some("torch.LongStorage"),
        Dtype::U8 => Some("torch.ByteStorage"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::files::pytorch::PyTorchFile;
    use std::borrow::Cow;

    fn numbers(shape: &[usize]) -> Values<'static> {
        Values::F32(Cow::Owned(Tensor::from_fn(shape, |i| i as f32 / 3.0 - 1.0)))
    }

    #[test]
    fn tensors_are_read_back_in_order_with_the_same_bits() {
        let directory = tempfile::tempdir().unwrap();
        let tensors = [
            ("z.weight".to_string(), numbers(&[70, 3, 1, 2])),
            ("a.bias".to_string(), numbers(&[300])),
            ("größe".to_string(), numbers(&[])),
            ("a.num_batches_tracked".to_string(), Values::Count(5)),
            ("m".to_string(), numbers(&[1, 70_000])),
        ];
        let written = ["one.pth", "two"].map(|name| {
            let path = directory.path().join(name);
            save(&path, &tensors).unwrap();
            std::fs::read(path).unwrap()
        });
        assert_eq!(written[0], written[1], "the name of the file does not matter");
        let mut file = PyTorchFile::parse(Path::new("x"), written[0].clone()).unwrap();
        let names: Vec<String> = file.in_order().into_iter().map(|(name, _)| name).collect();
        assert!(names.iter().eq(tensors.iter().map(|(name, _)| name)), "{names:?}");
        for (name, values) in &tensors {
            let found = file.take(name).unwrap().unwrap();
            match values {
                Values::F32(expected) => assert!(found.same_bits(expected), "{name}"),
                _ => assert_eq!((found.shape(), found.data()), (&[][..], &[5.0][..])),
            }
        }
        assert!(file.ignored.is_empty() && file.notes.is_empty());
    }

    #[test]
    fn strides_are_row_major() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[]), [] as [usize; 0]);
    }
}
