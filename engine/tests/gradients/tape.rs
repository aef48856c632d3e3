//! The tape itself: what it keeps, what it refuses, and which gradients it returns.

use lopper_engine::geometry::Conv2dOptions;
use lopper_engine::layer::{Pool, Window};
use lopper_engine::tape::Backward;
use lopper_engine::{Device, Error, Mode, Result, Tape, Tensor};
use std::sync::Arc;

/// Operation that holds a token, so that a test can see when it is freed.
struct Holding(#[allow(dead_code, reason = "held, never read")] Arc<()>);

impl Backward for Holding {
    fn backward(self: Box<Self>, _: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(dy)])
    }
}

#[test]
fn without_gradients_nothing_is_kept() {
    let device = Device::cpu();
    let token = Arc::new(());
    let mut tape = Tape::no_grad(&device);
    let x = tape.leaf(Tensor::scalar(1.0));
    let y = tape.record(&[&x], Tensor::scalar(2.0), Holding(token.clone()));
    assert_eq!(Arc::strong_count(&token), 1, "freed at once");
    assert!(tape.backward(&y).is_err());

    let mut tape = Tape::new(&device);
    let x = tape.constant(Tensor::scalar(1.0));
    tape.record(&[&x], Tensor::scalar(2.0), Holding(token.clone()));
    assert_eq!(Arc::strong_count(&token), 1, "no input wants a gradient");

    let x = tape.leaf(Tensor::scalar(1.0));
    let y = tape.record(&[&x], Tensor::scalar(2.0), Holding(token.clone()));
    assert_eq!(Arc::strong_count(&token), 2, "kept for the backward pass");
    let mut gradients = tape.backward(&y).unwrap();
    assert_eq!(Arc::strong_count(&token), 1, "and freed in it");
    assert_eq!(gradients.take(&x).unwrap().data(), [1.0]);
    assert!(gradients.get(&x).is_none() && gradients.get(&y).is_none(), "only of leaves, and only once");
}

#[test]
fn gradients_flow_only_to_what_the_loss_depends_on() {
    let mut tape = Tape::new(&Device::cpu());
    let [a, b, unused] = [2.0, 3.0, 4.0].map(|v| tape.leaf(Tensor::scalar(v)));
    let aside = tape.mul(&a, &unused).unwrap();
    let product = tape.mul(&a, &b).unwrap();
    let gradients = tape.backward(&product).unwrap();
    assert_eq!(gradients.get(&a).unwrap().data(), [3.0]);
    assert_eq!(gradients.get(&b).unwrap().data(), [2.0]);
    assert!(gradients.get(&unused).is_none() && gradients.get(&aside).is_none());
}

#[test]
fn a_variable_of_another_tape_is_a_constant() {
    let device = Device::cpu();
    let (mut other, mut tape) = (Tape::new(&device), Tape::new(&device));
    let foreign = other.leaf(Tensor::scalar(5.0));
    let own = tape.leaf(Tensor::scalar(2.0));
    let y = tape.mul(&own, &foreign).unwrap();
    let gradients = tape.backward(&y).unwrap();
    assert_eq!(gradients.get(&own).unwrap().data(), [5.0]);
    assert!(gradients.get(&foreign).is_none(), "though both are the first leaf of their tape");
}

#[test]
fn a_mean_of_large_values_does_not_overflow() {
    let mut tape = Tape::no_grad(&Device::cpu());
    let x = tape.constant(Tensor::full(&[1 << 10], f32::MAX / 2.0));
    assert_eq!(tape.mean(&x).unwrap().value().data(), [f32::MAX / 2.0]);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let mut tape = Tape::new(&Device::cpu());
    let image = tape.leaf(Tensor::zeros(&[1, 4, 4, 3]));
    let matrix = tape.leaf(Tensor::zeros(&[2, 3]));
    let vector = tape.leaf(Tensor::zeros(&[5]));
    let one = tape.leaf(Tensor::zeros(&[1, 3]));
    let gamma = tape.leaf(Tensor::zeros(&[3]));
    let filters = tape.leaf(Tensor::zeros(&[2, 3, 3, 4]));
    let pointwise = tape.leaf(Tensor::zeros(&[2, 1, 1, 3]));
    let nothing = tape.leaf(Tensor::zeros(&[0]));
    let [no_rows, no_columns] = [[0, 3], [2, 0]].map(|shape| tape.leaf(Tensor::zeros(&shape)));
    let no_pixels = tape.leaf(Tensor::zeros(&[1, 4, 0, 3]));
    let mut conv = |w, bias| tape.conv2d(&image, w, bias, Conv2dOptions::default()).err();
    let of_conv = [conv(&filters, None), conv(&matrix, None), conv(&pointwise, Some(&vector))];
    let others = [
        tape.linear(&matrix, &matrix, Some(&vector)).err(),
        tape.linear(&image, &matrix, None).err(),
        tape.matmul(&matrix, &matrix).err(),
        tape.batch_norm_train(&image, &vector, &gamma, 1e-5).err(),
        tape.batch_norm_train(&one, &gamma, &gamma, 1e-5).err(),
        tape.batch_norm_eval(&image, &gamma, &gamma, [vector.value(), gamma.value()], 1e-5).err(),
        tape.add(&image, &matrix).err(),
        tape.concat(&[&image, &matrix]).err(),
        tape.concat(&[]).err(),
        tape.reshape(&matrix, &[7]).err(),
        tape.mean(&nothing).err(),
        tape.cross_entropy(&matrix, &[0], 0.0).err(),
        tape.cross_entropy(&matrix, &[0, 3], 0.0).err(),
        tape.kl_divergence(&matrix, one.value(), 1.0).err(),
        tape.mse(&matrix, &one).err(),
        tape.pool2d(&image, Pool::average(Window::Adaptive([0, 1]))).err(),
        tape.pad_shortcut(&image, 0, 0, 0).err(),
        tape.pad_shortcut(&no_pixels, 2, 1, 1).err(),
        tape.batch_norm_train(&no_columns, &nothing, &nothing, 1e-5).err(),
        tape.batch_norm_train(&no_rows, &gamma, &gamma, 1e-5).err(),
        tape.batch_norm_eval(&no_columns, &nothing, &nothing, [nothing.value(), nothing.value()], 1e-5).err(),
        tape.softmax(&no_columns).err(),
        tape.log_softmax(&no_columns).err(),
        tape.concat(&[&no_columns, &matrix]).err(),
        tape.concat(&[&matrix, &no_columns]).err(),
        tape.kl_divergence(&no_rows, no_rows.value(), 1.0).err(),
        tape.kl_divergence(&no_columns, no_columns.value(), 1.0).err(),
        tape.cross_entropy(&no_columns, &[0, 0], 0.0).err(),
        tape.cross_entropy(&no_rows, &[], 0.0).err(),
        tape.mse(&no_rows, &no_rows).err(),
    ];
    for (i, error) in of_conv.into_iter().chain(others).enumerate() {
        assert!(matches!(error, Some(Error::Shape { .. })), "case {i}: {error:?}");
    }
    let sums_of_nothing = tape.matmul(&no_columns, &no_rows).unwrap();
    assert!(sums_of_nothing.value().same_bits(&Tensor::zeros(&[2, 3])));
    for p in [1.0, -0.1, f32::NAN] {
        assert!(matches!(tape.dropout(&matrix, p, Mode::Train), Err(Error::Invalid(_))));
    }
    assert!(matches!(tape.cross_entropy(&matrix, &[0, 1], 1.5), Err(Error::Invalid(_))));
    assert!(matches!(tape.kl_divergence(&matrix, matrix.value(), 0.0), Err(Error::Invalid(_))));
    assert!(matches!(tape.backward(&matrix), Err(Error::Shape { .. })));
}
