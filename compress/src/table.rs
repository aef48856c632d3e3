//! The table of techniques.

use crate::compact::CompactConfig;
use crate::distill::DistillStage;
use crate::factorize::FactorizeConfig;
use crate::fold::FoldConfig;
use crate::lottery::LotteryConfig;
use crate::prune::PruneStage;
use crate::regularize::RegularizeConfig;
use crate::share::ShareConfig;
use crate::slim::SlimConfig;
use crate::sparse_training::SparseTrainConfig;
use crate::sparsify::SparsifyConfig;
use crate::techniques::{Keys, Kind, Technique};
use serde::de::MapAccess;
use std::sync::Arc;

/// Defines [`StageKeys`] for a list of [`Keys`].
macro_rules! techniques {
    ($($name:ident: $keys:ty),+ $(,)?) => {
        /// The techniques of a stage of a recipe, while the keys of the stage are being read.
        #[derive(Debug, Default)]
        pub struct StageKeys {
            $($name: $keys,)+
        }

        impl StageKeys {
            /// Every technique.
            pub const KINDS: &'static [Kind] = &[$(<$keys as Keys>::KIND),+];

            /// The keys of each technique.
            pub const NAMES: &'static [&'static [&'static str]] = &[$(<$keys as Keys>::NAMES),+];

            /// Reads the value of `key` from `map`. Returns `None`, and reads nothing, if the key belongs to no
            /// technique.
            pub fn read<'de, A: MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Option<Result<(), A::Error>> {
                $(if let Some(read) = self.$name.read(key, map) {
                    return Some(read);
                })+
                None
            }

            /// Returns the techniques that were read, in the order of the table.
            pub fn techniques(self) -> Vec<Arc<dyn Technique>> {
                [$(self.$name.technique()),+].into_iter().flatten().collect()
            }
        }
    };
}

// In the order in which a stage applies rewrites, and in which errors list the keys.
techniques! {
    prune: PruneStage,
    fold: Option<FoldConfig>,
    factorize: Option<FactorizeConfig>,
    compact: Option<CompactConfig>,
    lottery: Option<LotteryConfig>,
    distill: DistillStage,
    sparsify: Option<SparsifyConfig>,
    slim: Option<SlimConfig>,
    share: Option<ShareConfig>,
    sparse_train: Option<SparseTrainConfig>,
    regularize: Option<RegularizeConfig>,
}
