//! Networks and the images that they are made for: each says how the other is prepared.

use super::config::DataConfig;
use super::dataset::Dataset;
use super::open::{Splits, open, open_sets};
use lopper_engine::data::Batches;
use lopper_engine::{Info, Result};
use std::sync::Arc;

impl DataConfig {
    /// Opens the data set; see [`open`].
    ///
    /// # Errors
    /// Those of [`open`].
    pub fn open(&self, seed: u64) -> Result<Splits> {
        open(self, None, seed)
    }

    /// Loads the images of data sets of the caller's own; see [`open_sets`].
    ///
    /// # Errors
    /// Those of [`open_sets`].
    pub fn open_sets(
        &self,
        train: impl Dataset + 'static,
        val: impl Dataset + 'static,
        seed: u64,
    ) -> Result<Splits> {
        open_sets(self, Arc::new(train), Arc::new(val), seed)
    }

    /// Sets the options that are not given to those that a network was made for: image size, normalization,
    /// preparation and classes.
    pub fn fit(&mut self, info: &Info) {
        let channels = |values: &[f32]| <[f32; 3]>::try_from(values).ok();
        self.size = self.size.or(Some(info.input[0]).filter(|&size| size > 0));
        self.mean = self.mean.or(channels(&info.mean));
        self.std = self.std.or(channels(&info.std));
        self.prepare_like(info.preparation);
        if self.classes.is_none() && !info.classes.is_empty() {
            self.classes = Some(info.class_folders().to_vec());
        }
    }
}

impl Splits {
    /// Records in `info` how these images are prepared, so that the network is later used in the same way. Classes that
    /// are numbered get the names of the images' classes.
    pub fn record(&self, info: &mut Info) {
        info.input = self.val.image_shape();
        (info.mean, info.std) = (self.mean.to_vec(), self.std.to_vec());
        info.preparation = Some(self.preparation);
        info.classes.clone_from(&self.classes);
        info.folders = if self.folders == self.classes { Vec::new() } else { self.folders.clone() };
    }
}
