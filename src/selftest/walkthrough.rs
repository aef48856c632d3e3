//! The demo's walkthrough on the device: train, distill, sparsify, prune, tune, fold, factorize.

use super::case::Case;
use super::line::Tally;
use super::rig::Rig;
use crate::keeping::KeepArgs;
use crate::pipeline::Pipeline;
use crate::progress::note;
use crate::recipe::Recipe;
use crate::report::{Row, wide};
use crate::run_directory::RunDirectory;
use lopper_engine::{Error, Result};
use lopper_kernels::params::Dtype;

/// Recipe for the emulator, with one image of each class.
const EMULATED: &str = include_str!("emulated.toml");

pub fn cases(rig: &Rig) -> Result<Vec<Case>> {
    let what = if rig.large { "demo --quick" } else { "a demo for the emulator" };
    Ok(vec![Case::check(what, "f32", run)])
}

fn run(rig: &Rig, tally: &mut Tally) -> Result<()> {
    let recipe = match rig.large {
        true => Recipe::parse(include_str!("../../recipes/demo.toml"))?.quick(),
        false => Recipe::parse(EMULATED)?,
    };
    let out = tempfile::tempdir().map_err(|e| Error::file(std::env::temp_dir(), e))?;
    let (device, seed) = (rig.device(Dtype::F32), recipe.seed);
    let splits = lopper_models::data::open(&recipe.data, None, seed)?;
    let mut directory = RunDirectory::claim(out.path(), false, &KeepArgs::default())?;
    let mut rows: Vec<Row> = Vec::new();
    Pipeline::new(&device, Some(splits), seed).run(&recipe, &mut directory, |finished| {
        rows = finished.to_vec();
        if let Some(row) = rows.last() {
            note(format_args!("{:>14}  done in {:.1} s", row.stage, row.seconds));
        }
        Ok(())
    })?;
    tally.expect(
        rows.len() == recipe.stages.len(),
        format!("{} of {} stages", rows.len(), recipe.stages.len()),
    );
    // Chance is 10 %; a trial run of one epoch on 1,000 images exceeds 50 %.
    let top1 = rows.last().and_then(|row| row.top1).unwrap_or(0.0);
    if rig.large {
        tally.expect(top1 > 0.3, format!("the last network's top-1 is {:.0} %", 100.0 * top1));
    }
    // Stages that preserve the function.
    for row in rows.iter().filter(|row| row.logit_difference.is_some()) {
        let difference = row.logit_difference.unwrap_or(f32::NAN);
        tally.expect(difference < 1e-2, format!("{} moves the logits by {difference}", row.stage));
    }
    tally.note = Some(format!("```text\n{}```\n", wide(&rows)));
    Ok(())
}
