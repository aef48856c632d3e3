//! A data set of your own: pictures that are drawn when they are needed, augmented and batched like any others.
//!
//! Numbers that are not pictures need no [`Dataset`]: see [`InMemory`].
//!
//! ```sh
//! cargo run --release --example in_memory_data
//! ```

use lopper::prelude::*;
use std::borrow::Cow;

/// Side of the pictures in pixels.
const SIDE: u32 = 24;

/// Pictures of disks, squares and crosses, in colors that say nothing about the class.
struct Shapes {
    count: usize,
    /// Distinguishes the training images from those to score.
    first: u64,
    classes: Vec<String>,
}

impl Shapes {
    fn new(count: usize, first: u64) -> Self {
        Self { count, first, classes: ["disk", "square", "cross"].map(String::from).to_vec() }
    }
}

/// A number below `bound` that depends on `image` and `what` only, so that every epoch sees the same pictures.
fn draw(image: u64, what: u64, bound: u64) -> u64 {
    let mut z = (image * 8 + what).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 31)) % bound
}

impl Dataset for Shapes {
    fn len(&self) -> usize {
        self.count
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> u32 {
        (index % 3) as u32
    }

    fn image(&self, index: usize) -> Result<Cow<'_, RgbImage>> {
        let id = self.first + index as u64;
        let at = |what| 8 + draw(id, what, 8) as i32;
        let (x0, y0, radius) = (at(0), at(1), 4 + draw(id, 2, 4) as i32);
        let channels = [3, 4, 5].map(|what| 80 + draw(id, what, 176) as u8);
        let shape = self.label(index);
        Ok(Cow::Owned(RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let (dx, dy) = (x as i32 - x0, y as i32 - y0);
            let inside = match shape {
                0 => dx * dx + dy * dy <= radius * radius,
                1 => dx.abs().max(dy.abs()) < radius,
                _ => dx.abs().max(dy.abs()) <= radius && dx.abs().min(dy.abs()) <= 1,
            };
            if inside { channels.into() } else { [20, 20, 20].into() }
        })))
    }

    /// What the pictures depend on: a checkpoint is refused for others.
    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(b"shapes 1");
        feed(&self.first.to_le_bytes());
        feed(&self.count.to_le_bytes());
    }
}

fn main() -> Result<()> {
    let device = Device::cpu();
    // Random crops and flips come from the options, as for images in files.
    let config = DataConfig { size: Some(24), batch: 30, workers: 1, ..DataConfig::new(DataName::Folder) };
    let mut data = config.open_sets(Shapes::new(300, 0), Shapes::new(90, 1_000_000), 1)?;
    let mut net = Builder::new(data.val.image_shape(), Some(1));
    for (layer, width) in [8, 16].into_iter().enumerate() {
        net.conv(format!("conv{layer}"), Conv::same(width, 5).stride(2)).batch_norm(format!("bn{layer}"));
        net.relu(format!("relu{layer}"));
    }
    net.adaptive_max_pool("pool", 1).flatten("flatten").linear("fc", data.classes.len());
    let mut graph = net.finish()?;
    data.record(&mut graph.info);

    let mut optimizer = Optimizer::new(OptimizerConfig::adam());
    let epochs = Trainer::new(&device, &mut optimizer, &mut CrossEntropy::default())
        .epochs(8)
        .learning_rate(1e-2)
        .fit(&mut graph, &mut data.train, None)?;
    let accuracy = evaluate(&graph, &mut data.val, &device)?.accuracy;
    let (low, high) = accuracy.wilson95();
    println!(
        "loss {:.3}; {:.1} % of new shapes right (95 % interval {:.1}–{:.1})",
        epochs[7].train_loss,
        100.0 * accuracy.top1(),
        100.0 * low,
        100.0 * high
    );
    assert!(low > 1.0 / 3.0, "no better than guessing");

    // A picture in memory is classified like a file.
    let classifier = Classifier::new(graph)?;
    let picture = Shapes::new(1, 2_000_000).image(0)?.into_owned();
    let guess = &classifier.predict(&[picture], &device)?[0][0];
    println!("a disk looks like a {} ({:.0} %)", guess.class, 100.0 * guess.probability);
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
