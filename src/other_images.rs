//! The images of a recipe's stages besides those that all stages use: other splits to score, and all images to train on.

use crate::evaluation::chosen;
use crate::images::open_images;
use crate::recipe::{Recipe, Stage};
use crate::stage_error::in_stage;
use lopper_engine::Result;
use lopper_models::data::{DataConfig, Loader, Scored, Splits, Trained};
use std::path::Path;

/// Images besides those that all stages use.
#[derive(Default)]
pub struct OtherImages {
    scored: Vec<(Scored, Splits)>,
    trained: Vec<(Trained, Loader)>,
    usual: Trained,
}

impl OtherImages {
    /// Opens what the stages of `recipe` need besides `splits`, the images that all stages use.
    ///
    /// # Errors
    /// Those of opening, with the stage, and of `evaluate.classes`.
    pub fn open(recipe: &Recipe, data: Option<&Path>, seed: u64, splits: &Splits) -> Result<Self> {
        let mut other = Self { usual: recipe.data.train, ..Self::default() };
        // The labels are those of the classes that all stages use.
        let config = DataConfig { classes: Some(splits.folders.clone()), ..recipe.data.clone() };
        for stage in &recipe.stages {
            other.add(stage, &config, (data, seed), splits).map_err(|e| in_stage(stage, e))?;
        }
        Ok(other)
    }

    fn add(
        &mut self,
        stage: &Stage,
        config: &DataConfig,
        (data, seed): (Option<&Path>, u64),
        splits: &Splits,
    ) -> Result<()> {
        if let Some(train) = stage.train_on
            && train != config.train
            && self.trained.iter().all(|(other, _)| *other != train)
        {
            let opened = open_images(&DataConfig { train, ..config.clone() }, data, seed)?;
            self.trained.push((train, opened.train));
        }
        let Some(evaluate) = &stage.reporting.evaluate else { return Ok(()) };
        if let Some(split) = evaluate.split
            && split != config.split
            && self.scored(Some(split)).is_none()
        {
            // The list names images of the other split.
            let config = DataConfig { split, val_list: None, ..config.clone() };
            self.scored.push((split, open_images(&config, data, seed)?));
        }
        chosen(evaluate, self.scored(evaluate.split).unwrap_or(splits)).map(drop)
    }

    /// The images of `split`, if they are not those that all stages are scored on.
    pub fn scored(&self, split: Option<Scored>) -> Option<&Splits> {
        self.scored.iter().find(|(other, _)| Some(*other) == split).map(|(_, splits)| splits)
    }

    /// The images that `stage` trains on, if they are not those that all stages train on.
    pub fn trained(&mut self, stage: &Stage) -> Option<&mut Loader> {
        let wanted = stage.train_on.filter(|train| *train != self.usual)?;
        self.trained.iter_mut().find(|(train, _)| *train == wanted).map(|(_, loader)| loader)
    }
}
