//! The names that a pickle may refer to. The list is complete: there is no way to add to it from a file.

use safetensors::Dtype;

/// A function or class of Python that describes tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)` and its predecessor.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter(tensor, …)`, which is its tensor.
    RebuildParameter,
    /// `torch.Size(tuple)`, which is its tuple.
    Size,
    /// A class of storages.
    Storage(Dtype),
    /// A class or constant whose values no tensor needs.
    Inert,
}

/// Returns what `module.name` is, or `None` if it is refused.
pub(super) fn lookup(module: &str, name: &str) -> Option<Global> {
    const INERT: [&str; 15] = [
        "device", "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8",
        "bool", "half", "float", "double", "long",
    ];
    match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Some(Global::RebuildParameter)
        }
        ("torch", "Size") => Some(Global::Size),
        ("torch", _) if INERT.contains(&name) => Some(Global::Inert),
        ("torch" | "torch.storage" | "torch.cuda", _) => storage(name).map(Global::Storage),
        _ => None,
    }
}

/// The type of the elements of the storages that a class holds.
fn storage(class: &str) -> Option<Dtype> {
    Some(match class {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

/// The message about `module.name`. `whole` says that it is the class of the whole object, not of a part of it.
pub(super) fn refusal(module: &str, name: &str, whole: bool) -> String {
    if module.starts_with("__torch__") {
        return script();
    }
    let (what, expression) = match whole {
        true => ("it is a whole object of Python, a", ".state_dict()"),
        false => ("it refers to", "['state_dict']"),
    };
    format!(
        "{what} `{module}.{name}`; only tensors in dictionaries are read, and nothing is run. If you trust the file, \
         write its tensors alone: python -c \"import torch; torch.save(torch.load('FILE', map_location='cpu', \
         weights_only=False){expression}, 'weights.pth')\""
    )
}

/// The message about a program of TorchScript.
pub(super) fn script() -> String {
    "it holds a TorchScript program. Write its tensors alone: python -c \"import torch; \
     torch.save(torch.jit.load('FILE', map_location='cpu').state_dict(), 'weights.pth')\""
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_describes_tensors_is_known() {
        assert_eq!(lookup("collections", "OrderedDict"), Some(Global::OrderedDict));
        assert_eq!(lookup("torch", "HalfStorage"), Some(Global::Storage(Dtype::F16)));
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("torch", "load"),
            ("torch.storage", "_load_from_bytes"),
            ("torch._utils", "_rebuild_tensor_v3"),
            ("collections", "OrderedDict.fromkeys"),
            ("", ""),
        ] {
            assert_eq!(lookup(module, name), None, "{module}.{name}");
        }
    }
}
