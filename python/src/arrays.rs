//! Arrays of numpy, read where they are.

use lopper_engine::{Result, Tensor, memory};
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// The order of the axes of images.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `[N, H, W, C]`, as lopper computes.
    ChannelsLast,
    /// `[N, C, H, W]`, as PyTorch computes.
    ChannelsFirst,
}

/// Images that an array of the caller holds. As long as they are borrowed, no code that knows of borrows writes to them; code
/// of Python might, which the documentation forbids.
pub struct Images<'py> {
    array: PyReadonlyArrayDyn<'py, f32>,
    layout: Layout,
}

impl<'py> Images<'py> {
    /// Borrows `images`, float32 in C order, with axes in the order of `layout`: "NHWC" or "NCHW".
    pub fn borrow(images: &Bound<'py, PyAny>, layout: &str) -> PyResult<Self> {
        let layout = match layout {
            "NHWC" => Layout::ChannelsLast,
            "NCHW" => Layout::ChannelsFirst,
            other => {
                return Err(PyValueError::new_err(format!("layout: expected NHWC or NCHW, found {other}")));
            }
        };
        let Ok(array) = images.cast::<PyArrayDyn<f32>>() else {
            let found = described(images);
            return Err(PyTypeError::new_err(format!("images: expected an array of float32, found {found}")));
        };
        if array.ndim() != 4 {
            let shape = array.shape();
            return Err(PyValueError::new_err(format!("images: expected 4 axes, found the shape {shape:?}")));
        }
        if !array.is_c_contiguous() || !array.data().is_aligned() {
            return Err(PyValueError::new_err(
                "images: expected an array in C order, which is read without a copy: numpy.ascontiguousarray(images)",
            ));
        }
        let array = array.try_readonly().map_err(|e| PyValueError::new_err(format!("images: {e}")))?;
        Ok(Self { array, layout })
    }

    /// The numbers, for use without the interpreter's lock.
    pub fn view(&self) -> PyResult<View<'_>> {
        let numbers = self.array.as_slice().map_err(|e| PyValueError::new_err(format!("images: {e}")))?;
        let shape = <[usize; 4]>::try_from(self.array.shape()).expect("checked when borrowed");
        Ok(View { numbers, shape, layout: self.layout })
    }
}

/// The numbers of [`Images`].
#[derive(Clone, Copy)]
pub struct View<'a> {
    numbers: &'a [f32],
    /// In the array's order.
    shape: [usize; 4],
    layout: Layout,
}

impl<'a> View<'a> {
    /// The shape as `[N, H, W, C]`.
    pub fn shape(&self) -> [usize; 4] {
        match (self.layout, self.shape) {
            (Layout::ChannelsLast, shape) => shape,
            (Layout::ChannelsFirst, [n, c, h, w]) => [n, h, w, c],
        }
    }

    /// The numbers in the order `[N, H, W, C]`: themselves, or a copy if they are in another.
    pub fn channels_last(&self) -> Result<Cow<'a, [f32]>> {
        match self.layout {
            Layout::ChannelsLast => Ok(Cow::Borrowed(self.numbers)),
            Layout::ChannelsFirst => Ok(Cow::Owned(self.tensor(0..self.shape[0])?.data().to_vec())),
        }
    }

    /// A copy of some images, `[N, H, W, C]`.
    pub fn tensor(&self, images: Range<usize>) -> Result<Tensor> {
        let [_, rest @ ..] = self.shape;
        let len: usize = rest.iter().product();
        let shape = [images.len(), rest[0], rest[1], rest[2]];
        memory::require("copies of the images", memory::bytes_of::<f32>([2, images.len(), len]))?;
        let copy = Tensor::from_slice(&shape, &self.numbers[images.start * len..images.end * len])?;
        Ok(match self.layout {
            Layout::ChannelsLast => copy,
            Layout::ChannelsFirst => copy.permute(&[0, 2, 3, 1]),
        })
    }
}

/// The classes of `count` images: integers in an array, a list, or anything else that numpy makes an array of.
pub fn labels(labels: &Bound<'_, PyAny>, count: usize) -> PyResult<Vec<u32>> {
    let array = labels.py().import("numpy")?.call_method1("asarray", (labels,))?;
    let kind: String = array.getattr("dtype")?.getattr("kind")?.extract()?;
    if kind != "i" && kind != "u" {
        return Err(PyTypeError::new_err(format!("labels: expected integers, found {}", described(&array))));
    }
    let array = array.call_method1("astype", ("int64",))?;
    let array = array.cast::<PyArrayDyn<i64>>()?;
    if array.shape() != [count] {
        let found = array.shape();
        return Err(PyValueError::new_err(format!(
            "labels: expected one for each of {count} images, found the shape {found:?}"
        )));
    }
    let label = |&label: &i64| {
        u32::try_from(label)
            .map_err(|_| PyValueError::new_err(format!("labels: expected numbers of classes, found {label}")))
    };
    array.to_vec()?.iter().map(label).collect()
}

/// The type of `object`, or of its elements if it is an array.
fn described(object: &Bound<'_, PyAny>) -> String {
    let text = |name: &str| object.getattr(name).and_then(|value| value.str()).map(|text| text.to_string());
    match (text("dtype"), object.get_type().name()) {
        (Ok(dtype), Ok(name)) => format!("{name} of {dtype}"),
        (_, Ok(name)) => name.to_string(),
        _ => "another object".into(),
    }
}
