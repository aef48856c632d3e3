//! What the caller's handles stand for.

use super::status::{Failure, lopper_status, text};
use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, file};
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Most images of a plan.
const MOST_IMAGES: usize = 65_536;

/// A network, loaded from a model file. It never changes, so any number of threads may use it at once.
#[allow(non_camel_case_types, reason = "the name in the header")]
pub struct lopper_model {
    graph: Graph,
    outputs: usize,
    arch: CString,
    preparation: Option<CString>,
    classes: Vec<CString>,
}

/// What a network is made for. Pointers belong to the model and are valid as long as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types, reason = "the name in the header")]
pub struct lopper_info {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Numbers that the network computes for an image: a logit for each class.
    pub outputs: usize,
    /// Number of class names: as many as outputs, or 0 if the file has none.
    pub classes: usize,
    /// Number of weights.
    pub parameters: u64,
    /// The architecture, such as "resnet18", or "".
    pub arch: *const c_char,
    /// For each channel, what is subtracted from pixels in [0, 1]; NULL if the file does not say it.
    pub mean: *const f32,
    /// For each channel, what the difference is divided by; NULL if the file does not say it.
    pub std: *const f32,
    /// In words, how an image of any size becomes one of the network's size, such as "resize 256, bilinear", and then its
    /// center; NULL if the file does not say it.
    pub preparation: *const c_char,
}

impl lopper_model {
    /// Loads the model file `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let graph = file::load(path)?;
        let [h, w, c] = graph.info.input;
        let mut shapes = graph.shapes([1, h, w, c])?;
        let outputs = shapes.swap_remove(graph.output())[1..].iter().product();
        let info = &graph.info;
        let (arch, classes) = (text(&info.arch), info.classes.iter().map(|name| text(name)).collect());
        let preparation = info.preparation.map(|preparation| text(&preparation.to_string()));
        Ok(Self { outputs, arch, preparation, classes, graph })
    }

    /// What the network is made for.
    pub(crate) fn info(&self) -> lopper_info {
        let [height, width, channels] = self.graph.info.input;
        let list = |list: &[f32]| if list.is_empty() { std::ptr::null() } else { list.as_ptr() };
        lopper_info {
            height,
            width,
            channels,
            outputs: self.outputs,
            classes: self.classes.len(),
            parameters: self.graph.param_count(),
            arch: self.arch.as_ptr(),
            mean: list(&self.graph.info.mean),
            std: list(&self.graph.info.std),
            preparation: self.preparation.as_ref().map_or(std::ptr::null(), |text| text.as_ptr()),
        }
    }

    /// The name of class `index`.
    pub(crate) fn class_name(&self, index: usize) -> Result<&CStr, Failure> {
        let count = self.classes.len();
        let name = self.classes.get(index).map(CString::as_c_str);
        name.ok_or_else(|| Failure::argument(format!("class {index}: the model names {count} classes")))
    }
}

/// A network prepared to run on a number of images.
#[allow(non_camel_case_types, reason = "the name in the header")]
pub struct lopper_plan {
    /// One run at a time: values between the layers have one place.
    plan: Mutex<Plan>,
    /// Numbers of the images, and of the outputs.
    lengths: [usize; 2],
}

impl lopper_plan {
    /// Plans `model` for `batch` images on `threads` threads, 0 for one per core.
    pub(crate) fn new(model: &lopper_model, batch: usize, threads: usize) -> Result<Self, Failure> {
        if !(1..=MOST_IMAGES).contains(&batch) {
            return Err(Failure::argument(format!(
                "batch: expected 1 to {MOST_IMAGES} images, found {batch}"
            )));
        }
        let device = Device::open("cpu", (threads > 0).then_some(threads))?;
        let [h, w, c] = model.graph.info.input;
        let plan = Plan::new(&model.graph, [batch, h, w, c], &device)?;
        let lengths = [plan.input_shape().iter().product(), plan.output_shape().iter().product()];
        Ok(Self { plan: Mutex::new(plan), lengths })
    }

    /// Numbers of the images, and of the outputs.
    pub(crate) fn lengths(&self) -> [usize; 2] {
        self.lengths
    }

    /// Returns an error unless the buffers of a run have these lengths.
    pub(crate) fn check(&self, images: usize, logits: usize) -> Result<(), Failure> {
        let [expected_images, expected_logits] = self.lengths;
        for (what, expected, found) in
            [("images", expected_images, images), ("logits", expected_logits, logits)]
        {
            if expected != found {
                return Err(Failure::argument(format!("{what}: expected {expected} numbers, found {found}")));
            }
        }
        Ok(())
    }

    /// Runs the network on `images`, and `take`s its outputs. A second thread waits until the first is done.
    pub(crate) fn run<R>(&self, images: &[f32], take: impl FnOnce(&[f32]) -> R) -> Result<R, Failure> {
        let broken = |_: PoisonError<_>| {
            let message = "an earlier run of this plan ended in a bug of lopper: make a new plan";
            Failure::new(lopper_status::LOPPER_ERROR_INTERNAL, message)
        };
        let mut plan = self.plan.lock().map_err(broken)?;
        Ok(take(plan.run(images)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header promises that threads may share both.
    #[test]
    fn handles_may_be_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<lopper_model>();
        shared::<lopper_plan>();
    }

    #[test]
    fn a_plan_that_panicked_is_not_run_again() {
        use lopper_engine::Layer;
        use lopper_engine::layer::Activation;
        let mut graph = Graph::new(1);
        graph.push("relu", Layer::Activation(Activation::Relu), &[0]).unwrap();
        let plan = Plan::new(&graph, [1, 1, 2, 1], &Device::cpu()).unwrap();
        let plan = lopper_plan { plan: Mutex::new(plan), lengths: [2, 2] };
        assert_eq!(plan.run(&[-1.0, 2.0], <[f32]>::to_vec).unwrap(), [0.0, 2.0]);
        assert!(plan.run(&[1.0], |_| ()).is_err(), "a wrong length is refused");
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            plan.run(&[1.0, 2.0], |_| panic!("while the outputs are read")).unwrap_or(())
        }));
        assert!(panic.is_err());
        let failure = plan.run(&[1.0, 2.0], |_| ()).unwrap_err();
        assert_eq!(failure.status, lopper_status::LOPPER_ERROR_INTERNAL);
        assert!(failure.message.contains("make a new plan"));
    }
}
