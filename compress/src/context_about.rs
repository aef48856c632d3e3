//! The definitions of the contexts.

use crate::Context;
use lopper_engine::About;

impl Context {
    /// Every context, in the order in which they are listed.
    pub const ALL: &[Self] = &[Self::Local, Self::Global, Self::Stage];

    /// Which groups compete with each other, and where that is from.
    pub const fn about(self) -> About {
        match self {
            Self::Local => About::common("every layer loses the same fraction of its groups"),
            Self::Global => About::common("the groups with the lowest scores of all layers go"),
            Self::Stage => About::common("those of the layers with one size of image go"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::assert_all_listed;

    #[test]
    fn every_context_is_listed() {
        assert_all_listed(Context::ALL);
    }
}
