//! Each kernel against the CPU's, on the same numbers.

mod batch_norm;
mod conv2d;
mod elementwise;
mod gates;
mod losses;
mod optim;
mod pool;
mod products;
mod sparse;

pub use sparse::kill_every_other_block;

use super::case::Case;
use super::grades::Grade;
use super::line::Tally;
use super::rig::{FLOATS, Rig};
use lopper_engine::Result;
use lopper_kernels::params::Dtype;

pub fn elementwise(_: &Rig) -> Result<Vec<Case>> {
    Ok(in_every_type(&[
        ("elementwise", elementwise::operations),
        ("conversion", elementwise::conversion),
        ("dropout", elementwise::dropout),
        ("concatenation and shortcuts", elementwise::channels),
        ("gates", gates::gates),
        ("shuffled channels", gates::gatherings),
    ]))
}

pub fn windows(_: &Rig) -> Result<Vec<Case>> {
    Ok(in_every_type(&[
        ("pooling", pool::fixed),
        ("adaptive pooling", pool::adaptive),
        ("batch norm", batch_norm::forward),
        ("batch norm, gradients", batch_norm::backward),
        ("layer norm", gates::norms),
        ("group norm", gates::group_norms),
        ("resizing", gates::resizes),
    ]))
}

pub fn losses(_: &Rig) -> Result<Vec<Case>> {
    let mut cases = in_every_type(&[("sums over rows", losses::sums), ("non-finite", optim::non_finite)]);
    cases.push(Case::check("softmax", "f32", losses::softmax));
    cases.push(Case::check("losses", "f32", losses::losses));
    cases.push(Case::check("SGD", "f32", optim::sgd));
    cases.push(Case::check("Adam", "f32", optim::adam));
    Ok(cases)
}

pub fn simt(_: &Rig) -> Result<Vec<Case>> {
    Ok(of_grade(Grade::Simt))
}

pub fn mma(_: &Rig) -> Result<Vec<Case>> {
    Ok(of_grade(Grade::Mma))
}

pub fn wgmma(_: &Rig) -> Result<Vec<Case>> {
    Ok(of_grade(Grade::Wgmma))
}

fn of_grade(grade: Grade) -> Vec<Case> {
    let of = |&precision: &Dtype| {
        let mut cases = vec![products::gemm(grade, precision)];
        cases.extend(conv2d::cases(grade, precision));
        cases
    };
    grade.precisions().iter().flat_map(of).collect()
}

/// Returns the checks of the operations that dispatch to a grade, in every precision.
pub fn dispatch(_: &Rig) -> Result<Vec<Case>> {
    let of = |&precision: &Dtype| {
        let mut cases = vec![products::linear(precision)];
        cases.extend(conv2d::cases(Grade::Chosen, precision));
        cases.extend([sparse::masked(precision), sparse::compact(precision)]);
        cases
    };
    Ok(Grade::Chosen.precisions().iter().flat_map(of).collect())
}

type InType = fn(&Rig, &mut Tally, Dtype) -> Result<()>;

fn in_every_type(checks: &[(&'static str, InType)]) -> Vec<Case> {
    let of = |&(what, check): &(&'static str, InType)| {
        FLOATS.map(|dtype| {
            Case::check(what, dtype.name(), move |rig: &Rig, tally: &mut _| check(rig, tally, dtype))
        })
    };
    checks.iter().flat_map(of).collect()
}
