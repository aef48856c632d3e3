//! Estimates of milliseconds, with and without a machine.

use crate::techniques::Clock;
use lopper_engine::plan::Amount;

/// Milliseconds of a multiply-accumulate on a machine that nobody has measured.
const UNMEASURED: f64 = 1e-8;

/// The estimated milliseconds of `amount`.
pub(crate) fn milliseconds(amount: &Amount, clock: Option<&dyn Clock>) -> f64 {
    clock.map_or_else(|| UNMEASURED * amount.macs(), |clock| clock.estimate(amount))
}
