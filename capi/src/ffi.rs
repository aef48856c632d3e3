//! The functions of the header, which is generated from this file, `status.rs` and `handles.rs`.

use super::handles::{lopper_info, lopper_model, lopper_plan};
use super::pointers::{self, Place, hand_out, take_back};
use super::status::{self, guarded, lopper_status};
use std::ffi::c_char;

/// The version of lopper, such as "0.1.0". The text is a constant.
#[unsafe(no_mangle)]
pub extern "C" fn lopper_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// What went wrong in the last call that failed in this thread, as UTF-8, or "" if none has failed. The text belongs to
/// lopper and is valid until another call fails in this thread, or the thread ends.
#[unsafe(no_mangle)]
pub extern "C" fn lopper_last_error() -> *const c_char {
    status::last_error()
}

/// Loads the model file `path`, which `lopper` wrote, into `*model`. Free it with `lopper_model_free`. If the call fails,
/// `*model` is NULL.
///
/// # Safety
/// `path` is a text that ends with a zero. `model` points to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lopper_model_load(
    path: *const c_char,
    model: *mut *mut lopper_model,
) -> lopper_status {
    guarded(|| {
        // SAFETY: by the contract, `model` is a place for a pointer.
        let mut place = unsafe { Place::new(model, 1, "model") }?;
        place.set(std::ptr::null_mut());
        // SAFETY: by the contract, `path` ends with a zero.
        let path = unsafe { pointers::path(path, "path") }?;
        place.set(hand_out(lopper_model::load(path)?));
        Ok(())
    })
}

/// Frees a model. Its plans stay valid; what `lopper_model_info` and `lopper_model_class_name` pointed to does not. NULL is
/// ignored.
///
/// # Safety
/// `model` is NULL, or a model that is not freed yet and that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lopper_model_free(model: *mut lopper_model) {
    let _ = guarded(|| {
        // SAFETY: by the contract, nobody uses the model any more.
        unsafe { take_back(model) };
        Ok(())
    });
}

/// Describes a model in `*info`.
///
/// # Safety
/// `model` is a model that is not freed. `info` points to a place for the description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lopper_model_info(
    model: *const lopper_model,
    info: *mut lopper_info,
) -> lopper_status {
    guarded(|| {
        // SAFETY: by the contract, `model` is alive during the call.
        let model = unsafe { pointers::object(model, "model") }?;
        // SAFETY: by the contract, `info` is a place for a description.
        let mut place = unsafe { Place::new(info, 1, "info") }?;
        place.set(model.info());
        Ok(())
    })
}

/// Points `*name` to the name of class `index`, from 0, as UTF-8. It belongs to the model and is valid as long as that is.
/// If the call fails, `*name` is NULL.
///
/// # Safety
/// `model` is a model that is not freed. `name` points to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lopper_model_class_name(
    model: *const lopper_model,
    index: usize,
    name: *mut *const c_char,
) -> lopper_status {
    guarded(|| {
        // SAFETY: by the contract, `name` is a place for a pointer.
        let mut place = unsafe { Place::new(name, 1, "name") }?;
        place.set(std::ptr::null());
        // SAFETY: by the contract, `model` is alive during the call.
        let model = unsafe { pointers::object(model, "model") }?;
        place.set(model.class_name(index)?.as_ptr());
        Ok(())
    })
}

/// Plans a model for `batch` images, 1 to 65536, on `threads` threads of its own, 1 to 256, or 0 for one per core, into
/// `*plan`. The number of threads changes no bit of what is computed. A plan keeps what it needs: the model may be freed
/// before it. Free it with `lopper_plan_free`. If the call fails, `*plan` is NULL.
///
/// # Safety
/// `model` is a model that is not freed. `plan` points to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lopper_plan_new(
    model: *const lopper_model,
    batch: usize,
    threads: usize,
    plan: *mut *mut lopper_plan,
) -> lopper_status {
    guarded(|| {
        // SAFETY: by the contract, `plan` is a place for a pointer.
        let mut place = unsafe { Place::new(plan, 1, "plan") }?;
        place.set(std::ptr::null_mut());
        // SAFETY: by the contract, `model` is alive during the call.
        let model = unsafe { pointers::object(model, "model") }?;
        place.set(hand_out(lopper_plan::new(model, batch, threads)?));
        Ok(())
    })
}

/// Frees a plan and ends its threads. NULL is ignored.
///
/// # Safety
/// `plan` is NULL, or a plan that is not freed yet and that no other thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lopper_plan_free(plan: *mut lopper_plan) {
    let _ = guarded(|| {
        // SAFETY: by the contract, nobody uses the plan any more.
        unsafe { take_back(plan) };
        Ok(())
    });
}

/// Writes the lengths of the buffers of a run: `*images` is batch x height x width x channels, `*logits` is batch x outputs.
///
/// # Safety
/// `plan` is a plan that is not freed. `images` and `logits` point to places for numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lopper_plan_lengths(
    plan: *const lopper_plan,
    images: *mut usize,
    logits: *mut usize,
) -> lopper_status {
    guarded(|| {
        // SAFETY: by the contract, `plan` is alive during the call.
        let plan = unsafe { pointers::object(plan, "plan") }?;
        // SAFETY: by the contract, both are places for a number.
        let (mut images, mut logits) =
            unsafe { (Place::new(images, 1, "images")?, Place::new(logits, 1, "logits")?) };
        let [of_images, of_logits] = plan.lengths();
        images.set(of_images);
        logits.set(of_logits);
        Ok(())
    })
}

/// Runs a plan: reads `images_len` numbers at `images`, [batch, height, width, channels] row by row, each
/// (pixel / 255 - mean) / std, and writes `logits_len` numbers to `logits`, [batch, outputs]. The lengths must be those of
/// `lopper_plan_lengths`. The images are read where they are, without a copy, and nothing is allocated. Runs of one plan
/// wait for each other; runs of different plans do not. If the call fails, `logits` is as it was.
///
/// # Safety
/// `plan` is a plan that is not freed. `images` points to `images_len` numbers, which nobody changes during the call, and
/// `logits` to `logits_len` numbers, which nobody else uses during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lopper_plan_run(
    plan: *const lopper_plan,
    images: *const f32,
    images_len: usize,
    logits: *mut f32,
    logits_len: usize,
) -> lopper_status {
    guarded(|| {
        // SAFETY: by the contract, `plan` is alive during the call.
        let plan = unsafe { pointers::object(plan, "plan") }?;
        plan.check(images_len, logits_len)?;
        // SAFETY: by the contract, `logits` may be written for `logits_len` numbers during the call.
        let mut logits = unsafe { Place::new(logits, logits_len, "logits") }?;
        // SAFETY: by the contract, `images` has `images_len` numbers, which do not change during the call.
        let images = unsafe { pointers::numbers(images, images_len, "images") }?;
        plan.run(images, |values| logits.copy(values))
    })
}
