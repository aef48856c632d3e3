//! Group normalization.

use super::error::{ShapeError, refuse};

/// Group normalization of images `x` `[N, P, C]` with `P = H·W` pixels (Wu & He 2018): the channels are divided into groups
/// of neighbors, and `y = γ (x − mean)/√(var + eps) + β` with the mean and the variance of all pixels and channels of a group
/// in one image; γ and β are `[C]`. Instance normalization (Ulyanov, Vedaldi & Lempitsky 2016) is the case of one channel a
/// group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNorm {
    /// Images.
    pub n: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels.
    pub c: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl GroupNorm {
    /// Rejects zero sizes, groups that do not divide the channels, and an ε that is negative or not finite.
    pub fn check(&self) -> Result<(), ShapeError> {
        let Self { n, pixels, c, groups, eps } = *self;
        if [n, pixels, c, groups].contains(&0) {
            return refuse(format!("a group norm of {groups} groups over {n} images of {pixels}×{c}"));
        }
        if !c.is_multiple_of(groups) {
            return refuse(format!("{groups} groups do not divide {c} channels"));
        }
        match eps >= 0.0 && eps.is_finite() {
            true => Ok(()),
            false => refuse(format!("a group norm with an ε of {eps}")),
        }
    }

    /// The length of `x`.
    pub fn len(&self) -> usize {
        self.n * self.pixels * self.c
    }

    /// Whether `x` is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels of a group.
    pub fn depth(&self) -> usize {
        self.c / self.groups
    }

    /// The numbers that the statistics of a group in one image cover.
    pub fn covered(&self) -> usize {
        self.pixels * self.depth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_divide_the_channels() {
        let g = GroupNorm { n: 2, pixels: 12, c: 6, groups: 3, eps: 1e-5 };
        assert_eq!((g.len(), g.depth(), g.covered()), (144, 2, 24));
        assert!(g.check().is_ok());
        let message = |g: GroupNorm| g.check().unwrap_err().to_string();
        assert!(message(GroupNorm { groups: 4, ..g }).contains("4 groups do not divide 6 channels"));
        assert!(message(GroupNorm { pixels: 0, ..g }).contains("2 images of 0×6"));
        assert!(message(GroupNorm { eps: -1.0, ..g }).contains("an ε of -1"));
        assert!(
            GroupNorm { groups: 0, ..g }.check().is_err()
                && GroupNorm { eps: f32::NAN, ..g }.check().is_err()
        );
    }
}
