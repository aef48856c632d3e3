//! `lopper prune --interactive`: every cut of a plan is shown with what it saves, and made if the user says so.

use crate::progress::note;
use lopper_compress::prune::{GroupScores, Proposal, Proposals, PrunePlan};
use lopper_engine::{Error, Graph, Result};
use lopper_models::data::thousands;
use std::io::{BufRead, Write};

/// An estimate of the milliseconds of a network.
type Estimate<'a> = dyn Fn(&Graph) -> Result<f64> + 'a;

/// What the user says about a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Make it.
    Yes,
    /// Leave it.
    No,
    /// Make it and all others.
    All,
    /// Leave it and all others.
    Quit,
}

/// The plan of the cuts that the user makes. Questions go to `output`, answers are lines of `input`. `scores` are those by
/// which the channels were chosen, if they were; `ms` estimates milliseconds, and gave `before` for the whole network.
///
/// # Errors
/// If the input ends before every cut is decided.
pub fn ask(
    mut proposals: Proposals,
    scores: &[GroupScores],
    (ms, before): (&Estimate, f64),
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<PrunePlan> {
    let failed = |e: std::io::Error| Error::invalid(format!("--interactive: the terminal: {e}"));
    let (total, mut now) = (proposals.total(), before);
    while let Some(proposal) = proposals.next() {
        let proposal = proposal?;
        let then = ms(&proposal.network)?;
        let scores = scores.iter().find(|scores| scores.layers == proposal.cut.layers);
        let shown = shown(&proposal, total, scores, [now, then]);
        output.write_all(shown.as_bytes()).map_err(failed)?;
        match answer(input, output)? {
            Answer::Yes => {
                now = then;
                proposals.accept(proposal);
            }
            Answer::No => {}
            Answer::All => {
                proposals.accept(proposal);
                proposals.accept_rest();
            }
            Answer::Quit => break,
        }
    }
    let plan = proposals.into_plan();
    note(format_args!("{} of {total} cuts are made", plan.groups.len()));
    Ok(plan)
}

/// Reads lines until one is an answer.
fn answer(input: &mut dyn BufRead, output: &mut dyn Write) -> Result<Answer> {
    let failed = |e: std::io::Error| Error::invalid(format!("--interactive: the terminal: {e}"));
    loop {
        output.write_all(b"cut? [y]es, [n]o, [a]ll that are left, [q]uit: ").map_err(failed)?;
        output.flush().map_err(failed)?;
        let mut line = String::new();
        if input.read_line(&mut line).map_err(failed)? == 0 {
            return Err(Error::invalid("--interactive: the input ended before every cut was decided"));
        }
        match line.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(Answer::Yes),
            "n" | "no" => return Ok(Answer::No),
            "a" | "all" => return Ok(Answer::All),
            "q" | "quit" => return Ok(Answer::Quit),
            other => writeln!(output, "expected y, n, a or q, found `{other}`").map_err(failed)?,
        }
    }
}

/// A cut in words: its layers and channels, what their scores were, and what the network costs before and after it.
fn shown(proposal: &Proposal, total: usize, scores: Option<&GroupScores>, ms: [f64; 2]) -> String {
    let Proposal { index, cut, costs: [before, after], .. } = proposal;
    let gone = cut.units - cut.keep.len();
    let mut text = format!(
        "\ncut {} of {total}: {gone} of {} channels of {}\n",
        index + 1,
        cut.units,
        cut.layers.join(", ")
    );
    if let Some(scores) = scores {
        let stays: Vec<bool> = scores.channels.iter().map(|channel| cut.keep.contains(channel)).collect();
        let joined: Vec<Option<f32>> = scores.joined.iter().copied().map(Some).collect();
        let layers = scores.apart.iter().map(|apart| (apart.layer.as_str(), apart.scores.as_slice()));
        // One layer says what the joined scores say.
        let layers = layers.filter(|_| scores.apart.len() > 1);
        for (layer, scores) in std::iter::once(("scores", joined.as_slice())).chain(layers) {
            text += &format!(
                "  {layer}: {} go, {} stay\n",
                range(scores, &stays, false),
                range(scores, &stays, true)
            );
        }
    }
    let share = |before: f64, after: f64| match before > 0.0 {
        true => format!("{:+.1} %", 100.0 * (after / before - 1.0)),
        false => "+0.0 %".into(),
    };
    for (what, before, after) in
        [("parameters", before.params, after.params), ("multiply-accumulates", before.macs, after.macs)]
    {
        let change = share(before as f64, after as f64);
        text += &format!("  {what} {} → {} ({change})\n", thousands(before), thousands(after));
    }
    text + &format!("  estimated {:.3} → {:.3} ms ({})\n", ms[0], ms[1], share(ms[0], ms[1]))
}

/// The smallest and the largest score of the channels that stay, or of those that do not.
fn range(scores: &[Option<f32>], stays: &[bool], staying: bool) -> String {
    let of = scores.iter().zip(stays).filter(|(_, stays)| **stays == staying).filter_map(|(score, _)| *score);
    let bounds = of.fold(None, |found: Option<(f32, f32)>, score| match found {
        None => Some((score, score)),
        Some((low, high)) => Some((low.min(score), high.max(score))),
    });
    bounds.map_or("none".into(), |(low, high)| format!("{low:.4} to {high:.4}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_compress::Context;
    use lopper_compress::criteria::{Criterion, L1Magnitude};
    use lopper_compress::prune::{Constants, PruneConfig};
    use lopper_models::{Builder, Conv};

    fn network() -> Graph {
        let mut net = Builder::new([8, 8, 1], Some(1));
        net.conv("a", Conv::same(8, 3)).relu("a.relu").conv("b", Conv::same(8, 3)).relu("b.relu");
        net.conv("c", Conv::same(8, 3)).adaptive_avg_pool("pool", 1).flatten("flatten").linear("fc", 2);
        net.finish().unwrap()
    }

    /// The plan that the lines of `answers` make of halving three groups, and what was printed.
    fn session(answers: &str) -> (Result<PrunePlan>, String) {
        let graph = network();
        let criterion = Some(Criterion::from(L1Magnitude));
        let config =
            PruneConfig { criterion, fraction: Some(0.5), context: Context::Local, ..PruneConfig::default() };
        let plan = config.plan(&graph, None).unwrap();
        let scores = config.scores(&graph, None).unwrap();
        let proposals = Proposals::new(&graph, &plan, Constants::Drop).unwrap();
        // A hundredth of a microsecond a multiply-accumulate.
        let ms = |graph: &Graph| -> Result<f64> {
            let macs: u64 = graph.costs(graph.info.input)?.iter().map(|cost| cost.macs).sum();
            Ok(1e-5 * macs as f64)
        };
        let before = ms(&graph).unwrap();
        let mut output = Vec::new();
        let plan = ask(proposals, &scores, (&ms, before), &mut answers.as_bytes(), &mut output);
        (plan, String::from_utf8(output).unwrap())
    }

    fn layers(answers: &str) -> Vec<String> {
        session(answers).0.unwrap().groups.into_iter().map(|group| group.layers.concat()).collect()
    }

    #[test]
    fn answers_choose_the_cuts() {
        assert_eq!(layers("y\nn\nyes\n"), ["a", "c"]);
        assert_eq!(layers("n\nA\n"), ["b", "c"]);
        assert_eq!(layers("y\nq\n"), ["a"]);
        assert_eq!(layers("quit\n"), [""; 0]);
    }

    #[test]
    fn a_cut_is_shown_with_what_it_saves() {
        let (_, text) = session("y\nmaybe\nn\nn\n");
        assert!(text.contains("cut 1 of 3: 4 of 8 channels of a\n"), "{text}");
        assert!(text.contains("expected y, n, a or q, found `maybe`"), "{text}");
        // 64 pixels: 9·8 of a, 9·64 of b and of c, and 16 of the linear layer; half of a and of b's inputs go.
        let whole = 64 * (72 + 576 + 576) + 16;
        let halved = 64 * (36 + 288 + 576) + 16;
        let macs = format!("multiply-accumulates {} → {} (", thousands(whole), thousands(halved));
        assert!(text.contains(&macs), "{macs} in {text}");
        assert!(
            text.contains(&format!("multiply-accumulates {} → ", thousands(halved))),
            "the second goes on"
        );
        assert!(text.contains("scores: ") && text.contains(" go, "), "{text}");
    }

    #[test]
    fn an_input_that_ends_decides_nothing() {
        let error = session("y\n").0.unwrap_err().to_string();
        assert!(error.contains("ended before every cut was decided"), "{error}");
    }
}
