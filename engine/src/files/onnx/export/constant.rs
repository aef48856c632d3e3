//! A constant of an ONNX graph, inside the file or beside it.

use crate::Tensor;
use crate::files::onnx::fields::{element, entry, tensor};
use crate::files::onnx::wire::{Content, Message};
use crate::files::pytorch_layout::Layout;
use std::io::{self, Write};

/// A constant, whose numbers are made when they are written: one weight at a time is copied, not all of them.
pub(super) struct Constant {
    name: String,
    shape: Vec<i64>,
    numbers: Numbers,
}

enum Numbers {
    /// A list.
    Ints(Vec<i64>),
    /// A tensor, shared with the graph, that is written in another layout.
    Floats(Tensor, Layout),
}

/// The numbers that are converted at a time.
const CHUNK: usize = 4096;

impl Constant {
    /// A list of integers.
    pub fn ints(name: String, values: Vec<i64>) -> Self {
        Self { name, shape: vec![values.len() as i64], numbers: Numbers::Ints(values) }
    }

    /// `values`, a weight, in `layout`.
    pub fn floats(name: String, values: &Tensor, layout: Layout) -> Self {
        let shape = layout.pytorch_shape(values.shape()).into_iter().map(|dim| dim as i64).collect();
        Self { name, shape, numbers: Numbers::Floats(values.clone(), layout) }
    }

    /// Whether the numbers are weights, which may lie in another file. Integers are sizes, axes and positions, which
    /// programs read before they load weights.
    pub fn is_weight(&self) -> bool {
        matches!(self.numbers, Numbers::Floats(..))
    }

    /// The number of subnormal weights, which are written as zeros because they slow other engines down.
    pub fn subnormal(&self) -> usize {
        match &self.numbers {
            Numbers::Ints(_) => 0,
            Numbers::Floats(values, _) => values.data().iter().filter(|value| value.is_subnormal()).count(),
        }
    }

    /// The constant with its numbers.
    pub fn inside(&self) -> Message<'_> {
        self.described().content(tensor::RAW, self)
    }

    /// The constant with its numbers at `offset` of the file `location`.
    pub fn beside(&self, location: &str, offset: u64) -> Message<'_> {
        let entry = |key: &str, value: &str| {
            Message::default().bytes(entry::KEY, key.as_bytes()).bytes(entry::VALUE, value.as_bytes())
        };
        let place = [
            entry("location", location),
            entry("offset", &offset.to_string()),
            entry("length", &self.len().to_string()),
        ];
        self.described()
            .messages(tensor::EXTERNAL, place.into())
            .int(tensor::LOCATION, tensor::location::EXTERNAL)
    }

    fn described(&self) -> Message<'_> {
        let kind = match self.numbers {
            Numbers::Ints(_) => element::INT64,
            Numbers::Floats(..) => element::FLOAT,
        };
        let message = Message::default().ints(tensor::DIMS, &self.shape).int(tensor::TYPE, kind);
        message.bytes(tensor::NAME, self.name.as_bytes())
    }
}

impl Content for Constant {
    fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Ints(values) => 8 * values.len(),
            Numbers::Floats(values, _) => 4 * values.len(),
        }
    }

    fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        let flushed = |&value: &f32| if value.is_subnormal() { 0.0 } else { value };
        match &self.numbers {
            Numbers::Ints(values) => values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes())),
            Numbers::Floats(values, layout) => {
                layout.export("weight", values).data().chunks(CHUNK).try_for_each(|values| {
                    let bytes = values.iter().flat_map(|value| flushed(value).to_le_bytes());
                    file.write_all(&bytes.collect::<Vec<u8>>())
                })
            }
        }
    }
}
