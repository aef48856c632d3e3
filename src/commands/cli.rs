//! The command line.

use super::common::Common;
use super::{
    atlas, bench, compact, completions, convert, demo, diff, distill, eval, explore, export, factorize, fold,
    help, list, lottery, lr_find, predict, prune, recipes, regularize, replay, report, run, schedule,
    selftest, sensitivity, share, slim, sparse_train, sparsify, summary, synthesize, train, weights,
};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use lopper_engine::{Result, memory};

/// Makes convolutional networks smaller and faster, and shows what each cut buys.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole walkthrough on built-in images
    Demo(demo::Demo),
    /// Run a recipe: a built-in one on your images, or your own
    Run(run::Run),
    /// Write the report of a run again, from its model files
    Report(report::ReportAgain),
    /// Repeat a run from its report, and compare the networks bit by bit
    Replay(replay::Replay),
    /// List the built-in recipes, or print one
    Recipes(recipes::Recipes),
    /// List criteria, granularities, schedules, losses and so on, with formulas and papers
    List(list::List),
    /// Draw schedules of sparsity or of the learning rate
    Schedule(schedule::DrawSchedule),
    /// Train a network from scratch, or train an existing one further
    Train(train::Train),
    /// Find a learning rate by the range test, with a picture of losses by rate
    LrFind(lr_find::LrFind),
    /// Train a network to imitate a teacher
    Distill(distill::Distill),
    /// Make images from a trained network alone, to distill it without its data
    Synthesize(synthesize::Synthesize),
    /// Set weights to zero, during training or at once with --epochs 0
    Sparsify(sparsify::Sparsify),
    /// Push the scales of batch norms toward zero while training, so that pruning finds channels that do not matter
    Slim(slim::Slim),
    /// Train with few weights from the first step on, and move them while training
    SparseTrain(sparse_train::SparseTrain),
    /// Mask what matters least in a trained network and rewind the rest to its start, then train with --epochs
    Lottery(lottery::Lottery),
    /// Train with a penalty that makes groups of weights small, for pruning behind it
    Regularize(regularize::Regularize),
    /// Remove channels, then fine-tune with --epochs, or step by step while training
    Prune(Box<prune::Prune>),
    /// Try many ways to make a network smaller, and draw what accuracy is left at what latency
    Explore(explore::Explore),
    /// Fold batch norms into the convolutions and linear layers around them
    Fold(fold::Fold),
    /// Split convolutions and linear layers into factors of low rank, then fine-tune with --epochs
    Factorize(factorize::Factorize),
    /// Let weights share few values, which makes files smaller, then fine-tune with --epochs
    Share(share::Share),
    /// Compute only live channels, keeping every outer width
    Compact(compact::Compact),
    /// Measure the accuracy on validation images, and other metrics, with 95 % intervals
    Eval(eval::Eval),
    /// Classify images
    Predict(predict::Predict),
    /// List layers, shapes, parameters, multiply-accumulates and bytes
    Summary(summary::Summary),
    /// Measure the latency of the inference plan
    Bench(bench::Bench),
    /// Measure each way of being sparse against the best dense kernel, layer by layer, and draw the result
    Atlas(atlas::Atlas),
    /// Measure what each cut of a network costs, with a heat map and the plan that follows
    Sensitivity(sensitivity::MeasureCuts),
    /// Find the largest logit difference of two networks, and the layer where it starts
    Diff(diff::Diff),
    /// Check a GPU: every kernel against the CPU, the demo and the benchmarks, in one report
    Selftest(selftest::Selftest),
    /// Write a network as ONNX, as a module of PyTorch, or its weights with torchvision's names
    Export(export::Export),
    /// Read weights with torchvision's names into an architecture, or a network from an ONNX file
    Import(weights::Import),
    /// Convert a network between model files, ONNX files and modules of PyTorch
    Convert(convert::Convert),
    /// Print a script that completes commands and options in bash, zsh or fish
    Completions(completions::Completions),
}

impl Cli {
    /// Parses the command line. An invalid one ends the process with status 2.
    pub fn from_command_line() -> Self {
        let mut command = with_negative_numbers(help::with_examples(Self::command()));
        let found = Self::from_arg_matches(&command.get_matches_mut());
        found.unwrap_or_else(|error| error.format(&mut command).exit())
    }

    /// Runs the command.
    pub fn run(&self) -> Result<()> {
        let common = &self.common;
        if let Some(bytes) = common.max_memory {
            memory::set_limit(bytes);
        }
        match &self.command {
            Command::Demo(c) => c.run(common),
            Command::Run(c) => c.run(common),
            Command::Report(c) => c.run(common),
            Command::Replay(c) => c.run(common),
            Command::Recipes(c) => c.run(common),
            Command::List(c) => c.run(common),
            Command::Schedule(c) => c.run(common),
            Command::Train(c) => c.run(common),
            Command::LrFind(c) => c.run(common),
            Command::Distill(c) => c.run(common),
            Command::Synthesize(c) => c.run(common),
            Command::Sparsify(c) => c.run(common),
            Command::Slim(c) => c.run(common),
            Command::SparseTrain(c) => c.run(common),
            Command::Lottery(c) => c.run(common),
            Command::Regularize(c) => c.run(common),
            Command::Prune(c) => c.run(common),
            Command::Explore(c) => c.run(common),
            Command::Fold(c) => c.run(common),
            Command::Factorize(c) => c.run(common),
            Command::Share(c) => c.run(common),
            Command::Compact(c) => c.run(common),
            Command::Eval(c) => c.run(common),
            Command::Predict(c) => c.run(common),
            Command::Summary(c) => c.run(common),
            Command::Bench(c) => c.run(common),
            Command::Atlas(c) => c.run(common),
            Command::Sensitivity(c) => c.run(common),
            Command::Diff(c) => c.run(common),
            Command::Selftest(c) => c.run(common),
            Command::Export(c) => c.run(common),
            Command::Import(c) => c.run(common),
            Command::Convert(c) => c.run(common),
            Command::Completions(c) => c.run(Self::command(), common),
        }
    }
}

/// Lets every option take a negative number as its value. Without it, clap takes the number for an unknown option; with
/// it, the option's own check names the option and what it expects.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes_value = |arg: &clap::Arg| !arg.is_positional() && arg.get_action().takes_values();
    command
        .mut_args(|arg| if takes_value(&arg) { arg.allow_negative_numbers(true) } else { arg })
        .mut_subcommands(with_negative_numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_compress::StageKeys;

    #[test]
    fn every_technique_is_a_command() {
        let cli = Cli::command();
        for kind in StageKeys::KINDS {
            let name = kind.name.replace('_', "-");
            assert!(cli.get_subcommands().any(|command| command.get_name() == name), "{name}");
        }
    }
}
