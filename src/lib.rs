//! lopper makes convolutional networks smaller and faster, and shows exactly what each cut buys.
//!
//! It is a tensor and autograd engine with its own kernels and, on top of it, the techniques of neural-network compression:
//! distillation, sparsification, pruning, batch-norm folding, factorization and compaction. This page is for programs;
//! `lopper --help` lists the commands that do the same to model files.
//!
//! # A first program
//!
//! ```
//! use lopper::prelude::*;
//!
//! fn main() -> Result<()> {
//!     // Images: some that are built in. For a folder, DataName::Folder and its `path`.
//!     let config = DataConfig { limit: Some(10), ..DataConfig::new(DataName::FashionMnist) };
//!     let mut data = config.open(1)?;
//!
//!     // A network, and its training.
//!     let options = BuildOptions::new(data.classes.clone(), data.val.image_shape());
//!     let mut network = build("vgg8_bn", &options)?;
//!     data.record(&mut network.info);
//!     let device = Device::cpu();
//!     let (mut optimizer, mut loss) = (Optimizer::new(OptimizerConfig::adamw(0.01)), CrossEntropy::default());
//!     Trainer::new(&device, &mut optimizer, &mut loss)
//!         .epochs(1)
//!         .learning_rate(2e-3)
//!         .fit(&mut network, &mut data.train, Some(&mut data.val))?;
//!
//!     // Half of its filters go, and all of its batch norms.
//!     let pruning = PruneConfig { criterion: Some("l1".parse()?), fraction: Some(0.5), ..Default::default() };
//!     let pruned = pruning.apply(&network, None)?;
//!     let small = fold(&pruned.graph)?.graph;
//!     println!("{}{} → {} parameters", pruned.report, network.param_count(), small.param_count());
//!
//!     // How good is it, and how fast?
//!     let top1 = evaluate(&small, &mut data.val, &device)?.accuracy.top1();
//!     let [h, w, c] = small.info.input;
//!     let mut plan = Plan::new(&small, [1, h, w, c], &device)?;
//!     let logits = plan.run(&vec![0.5; h * w * c])?;
//!     assert!(logits.len() == 10 && small.param_count() < network.param_count() / 2 && top1 > 0.0);
//!     # if false {
//!     file::save(&small, "small.safetensors")?;
//!     # }
//!     Ok(())
//! }
//! ```
//!
//! # I want to …
//!
//! | … | with | example |
//! | --- | --- | --- |
//! | build a network of my own | [`Builder`](models::Builder), or [`Graph::push`](engine::Graph::push) | `custom_network` |
//! | use a known architecture | [`build`](models::build); [`names`](models::names) lists them | `tour` |
//! | read images from files | [`DataConfig::open`](models::data::DataConfig::open) | `predict` |
//! | train on images or numbers of my own | [`Dataset`](models::data::Dataset), [`InMemory`](engine::train::InMemory), or [`Batches`](engine::data::Batches) | `in_memory_data` |
//! | minimize a loss of my own | [`Objective`](engine::train::Objective) and the operations of [`Tape`](engine::Tape) | `custom_loss` |
//! | act between training steps | [`Callback`](engine::train::Callback) | `custom_loss` |
//! | stop and resume a training | [`Trainer::fit_kept`](engine::train::Trainer::fit_kept), [`Keeper`](engine::train::Keeper), [`Checkpoint`](engine::train::Checkpoint) | |
//! | learn from a larger network | [`Distillation`](compress::Distillation) | `tour` |
//! | set weights to zero while training | [`Sparsifier`](compress::Sparsifier), or at once [`sparsify`](compress::sparsify()) | `tour` |
//! | choose them by a criterion of my own | [`Score`](compress::criteria::Score) | `custom_criterion` |
//! | group them in a way of my own | [`Granularity`](compress::Granularity) | |
//! | remove channels | [`PruneConfig::apply`](compress::PruneConfig::apply); [`PrunePlan`](compress::PrunePlan) and [`prune`](compress::prune()) in two steps | `tour` |
//! | remove channels by index, or cut by cut | [`PrunePlan::without_outputs`](compress::PrunePlan::without_outputs), [`Proposals`](compress::prune::Proposals) | `cuts_by_hand` |
//! | fold batch norms, split linear layers | [`fold`](compress::fold()), [`factorize`](compress::factorize()) | `tour` |
//! | know what a rewrite did, layer by layer | [`Rewrite::report`](engine::rewrite::Rewrite) | `custom_network` |
//! | classify pictures with a model file | [`Classifier`](models::Classifier) | `predict` |
//! | compute fast, without gradients | [`Plan`](engine::plan::Plan) | `custom_network` |
//! | measure accuracy, F1, calibration | [`evaluate`](engine::train::evaluate), [`score`](engine::train::score) and [`Scores`](engine::train::Scores) | `custom_loss` |
//! | read weights from PyTorch | [`torchvision`](engine::torchvision) | |
//! | run a recipe's text | [`recipe`] | |
//!
//! The examples are short programs in `examples/`: `cargo run --release --example tour`.
//!
//! # The techniques in short
//!
//! Each of these is a few lines in a program. They share a network and a loop:
//!
//! ```
//! # use lopper::prelude::*;
//! # fn network() -> Result<Graph> {
//! #     let mut net = Builder::new([8, 8, 1], Some(1));
//! #     net.conv("conv1", Conv::same(8, 3)).batch_norm("bn1").relu("relu1");
//! #     net.conv("conv2", Conv::same(12, 3)).batch_norm("bn2").relu("relu2");
//! #     net.adaptive_avg_pool("pool", 1).flatten("flatten").linear("fc1", 12).relu("relu3").linear("fc2", 2);
//! #     net.finish()
//! # }
//! # fn images() -> Result<InMemory> {
//! #     let images = Tensor::from_fn(&[16, 8, 8, 1], |i| (i * 37 % 19) as f32 / 19.0 + (i / 64 % 2) as f32);
//! #     Ok(InMemory::new(images, (0..16).map(|i| i % 2).collect(), vec!["dark".into(), "light".into()])?.batch(8))
//! # }
//! fn train(graph: &mut Graph, loss: &mut dyn Objective, hook: Option<&mut dyn Callback>) -> Result<()> {
//!     let (device, mut optimizer) = (Device::cpu(), Optimizer::new(OptimizerConfig::adam()));
//!     let mut trainer = Trainer::new(&device, &mut optimizer, loss).epochs(2);
//!     if let Some(hook) = hook {
//!         trainer = trainer.callback(hook);
//!     }
//!     trainer.fit(graph, &mut images()?, None).map(drop)
//! }
//!
//! // Distillation: the teacher's softened predictions, beside the labels.
//! let (teacher, mut student) = (network()?, network()?);
//! let config = DistillConfig { temperature: 20.0, weight: 0.5, ..Default::default() };
//! let mut lesson = Distillation::new(config, CrossEntropy::default(), &student, teacher, [8, 8, 1])?;
//! train(&mut student, &mut lesson, None)?;
//!
//! // Sparsification: 30 % of all filters, the smallest, fade to zero on a cosine.
//! let config = SparsifyConfig { context: Context::Local, ..SparsifyConfig::new(0.3) };
//! train(&mut student, &mut CrossEntropy::default(), Some(&mut Sparsifier::new(config)?))?;
//!
//! // … single weights, by what the loss loses without them, on a schedule of one's own.
//! let config = SparsifyConfig {
//!     granularity: Granularity::WEIGHT,
//!     criterion: "taylor".parse()?,
//!     schedule: SparsitySchedule::custom("square_root", f64::sqrt),
//!     ..SparsifyConfig::new(0.5)
//! };
//! train(&mut student, &mut CrossEntropy::default(), Some(&mut Sparsifier::new(config)?))?;
//!
//! // Pruning: what sparsification left dead is removed; the function does not change.
//! let pruned = PruneConfig::default().apply(&student, None)?.graph;
//! assert!(pruned.param_count() < student.param_count());
//!
//! // Folding: no batch norm is left, and the function does not change.
//! let folded = fold(&pruned)?.graph;
//! assert!(folded.nodes().iter().all(|node| !node.name.starts_with("bn")));
//!
//! // Factorization: half of the singular values of each linear layer that becomes smaller.
//! let split = factorize(&folded, &FactorizeConfig { fraction: Some(0.5), ..Default::default() })?;
//! println!("{}", split.report);
//! # Ok::<(), Error>(())
//! ```
//!
//! # The crates
//!
//! This package is the command line and a facade over four crates, which depend on each other in one direction:
//! `kernels ← engine ← {models, compress}`.
//!
//! | crate | holds | start at |
//! | --- | --- | --- |
//! | [`kernels`] | functions on slices: plain loops, SIMD, CUDA | [`kernels::shapes`] |
//! | [`engine`] | tensors, tape, graph, training, plans, model files | [`engine::Graph`] |
//! | [`models`] | networks as graphs; data sets and augmentation | [`models::build`] |
//! | [`compress`] | the techniques, and what they share | [`compress::Technique`] |
//!
//! It also defines the [`recipe`] that the command line runs, the [`report`] of a run with the [`details`] of its stages
//! and its [`page`], what [`certify`] measures, the [`atlas`] of sparse kernels, the times of the [`machine`] and [`latency`]
//! measured in turn. [`prelude`] has the items of all crates that most programs need. `ARCHITECTURE.md` gives the reasons behind
//! it all.

#![forbid(unsafe_code)]

pub mod atlas;
pub mod certify;
pub mod details;
pub mod findings;
pub mod latency;
pub mod listing;
pub mod machine;
pub mod page;
pub mod prelude;
pub mod recipe;
pub mod report;
pub mod sensitivity;

pub use {
    lopper_compress as compress, lopper_engine as engine, lopper_kernels as kernels, lopper_models as models,
};
