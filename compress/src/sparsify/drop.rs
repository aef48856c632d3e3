//! Dropped groups as masks.

use crate::granularity::Groups;
use lopper_engine::{Param, Result, Tensor};

/// Adds the groups in `dropped` to what the mask of `weight` drops.
pub(super) fn drop_groups(weight: &mut Param, groups: &Groups, dropped: &[bool]) -> Result<()> {
    let mut mask = mask_of(weight);
    groups.clear(dropped, mask.data_mut());
    weight.set_mask(Some(mask))
}

/// The mask of `weight`, of ones if it has none.
pub(super) fn mask_of(weight: &Param) -> Tensor {
    weight.mask().cloned().unwrap_or_else(|| Tensor::full(weight.value().shape(), 1.0))
}

/// The groups that `mask` drops as a whole.
pub(crate) fn dropped_by(mask: Option<&Tensor>, groups: &Groups) -> Vec<bool> {
    match mask {
        Some(mask) => groups.all(|i| mask.data()[i] == 0.0),
        None => vec![false; groups.count()],
    }
}
