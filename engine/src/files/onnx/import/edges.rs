//! Pixels that are added to the edges of an image, or cut off.
//!
//! A layer pads at least as much behind an image as in front of it. Where a file pads less behind, the kernel gets rows or
//! columns behind its own, which are zero and masked, so that they stay zero; they reach what is padded too much:
//!
//! ```text
//!   padding 1 | image | 0         kernel a b
//!   padding 1 | image | 1         kernel a b 0
//! ```
//!
//! Padding that no layer takes in, and edges that are cut off, are depthwise convolutions of their own: of single pixels, with
//! padding, and with one weight that is not zero.

use super::importer::Importer;
use super::view::{Axis, View};
use crate::graph::NodeId;
use crate::graph::layer::{Conv2d, Layer};
use crate::{Param, Tensor};

/// The largest number of rows, and of columns, that are cut off: they are weights of a kernel.
const MOST_CUT: usize = 8;

/// The weight of a convolution, and its padding.
pub(super) struct Padded {
    /// `[O, KH, KW, C / groups]`.
    pub weight: Param,
    /// In front of the image and behind it.
    pub padding: [usize; 2],
    /// Behind it, too.
    pub extra_padding: [usize; 2],
}

impl Importer<'_, '_> {
    /// A convolution with `weight` `[O, KH, KW, C / groups]` whose padding is `front` before the image and `behind` after it.
    pub fn padded_conv(
        &mut self,
        weight: Tensor,
        [front, behind]: [[usize; 2]; 2],
        dilation: [usize; 2],
    ) -> Result<Padded, String> {
        let added = [0, 1].map(|axis| front[axis].saturating_sub(behind[axis]).div_ceil(dilation[axis]));
        let extra_padding = [0, 1].map(|axis| behind[axis] + added[axis] * dilation[axis] - front[axis]);
        let weight = match added {
            [0, 0] => self.param(weight)?,
            _ => self.widened(&weight, added)?,
        };
        Ok(Padded { weight, padding: front, extra_padding })
    }

    /// `weight` with `rows` and `columns` of zeros behind its own, which a mask keeps.
    fn widened(&mut self, weight: &Tensor, [rows, columns]: [usize; 2]) -> Result<Param, String> {
        let &[o, kh, kw, depth] = weight.shape() else { return Err("has no weight of four axes".into()) };
        let shape = [o, kh + rows, kw + columns, depth];
        let len = shape.iter().try_fold(1usize, |len, &dim| len.checked_mul(dim));
        self.make(len.unwrap_or(usize::MAX))?;
        let own = |i: usize| {
            let (channel, x) = (i % depth, i / depth % shape[2]);
            let (y, filter) = (i / (depth * shape[2]) % shape[1], i / (depth * shape[2] * shape[1]));
            (y < kh && x < kw).then(|| ((filter * kh + y) * kw + x) * depth + channel)
        };
        let mut param = Param::new(Tensor::from_fn(&shape, |i| own(i).map_or(0.0, |own| weight.data()[own])));
        let mask = Tensor::from_fn(&shape, |i| f32::from(own(i).is_some()));
        param.set_mask(Some(mask)).map_err(|e| e.to_string())?;
        Ok(param)
    }

    /// The image `view` `[N, C, H, W]` with the zeros around it that were left to the next layer, as a layer like `name`.
    pub fn with_padding(&mut self, view: &View, name: &str) -> Result<View, String> {
        let ([top, left, bottom, right], [h, w, c]) = (view.padding, view.size);
        let size = [h + top + bottom, w + left + right, c];
        self.may_make(c)?;
        let ones = Tensor::full(&[c, 1, 1, 1], 1.0);
        let padded = self.padded_conv(ones, [[top, left], [bottom, right]], [1; 2])?;
        let id = self.depthwise(padded, size, view, &format!("{name}.pad"))?;
        Ok(View::image(id, size))
    }

    /// The image `view`, whatever the order of its axes, without `cuts` `[top, left, bottom, right]`, as a layer like `name`.
    pub fn cropped(&mut self, view: &View, cuts: [usize; 4], name: &str) -> Result<View, String> {
        let ([top, left, bottom, right], [h, w, c]) = (cuts, view.size);
        if cuts == [0; 4] {
            return Ok(view.clone());
        }
        let (rows, columns) = (top + bottom, left + right);
        if rows.max(columns) > MOST_CUT {
            return Err(format!("cuts {cuts:?} off an image, more than {MOST_CUT} rows or columns"));
        }
        let shape = [c, rows + 1, columns + 1, 1];
        self.make(shape.iter().product())?;
        let kept = top * (columns + 1) + left;
        let one = Tensor::from_fn(&shape, |i| f32::from(i % ((rows + 1) * (columns + 1)) == kept));
        let mut weight = Param::new(one.clone());
        weight.set_mask(Some(one)).map_err(|e| e.to_string())?;
        let kernel = Padded { weight, padding: [0; 2], extra_padding: [0; 2] };
        let size = [h - rows, w - columns, c];
        let id = self.depthwise(kernel, size, view, &format!("{name}.crop"))?;
        let axes: Vec<&[Axis]> = view.axes.iter().map(Vec::as_slice).collect();
        Ok(View { size, ..view.at(id) }.with_axes(&axes))
    }

    /// A depthwise convolution of `view` to an image of `size`.
    fn depthwise(
        &mut self,
        Padded { weight, padding, extra_padding }: Padded,
        size: [usize; 3],
        view: &View,
        name: &str,
    ) -> Result<NodeId, String> {
        let (stride, dilation, groups) = ([1; 2], [1; 2], size[2]);
        let layer =
            Layer::Conv2d(Conv2d { weight, bias: None, stride, padding, extra_padding, dilation, groups });
        layer.check().map_err(|e| e.to_string())?;
        View { size, ..view.clone() }.bounded().map_err(|e| format!("makes {e}"))?;
        Ok(self.push_named(name, layer, &[view.node]))
    }
}
