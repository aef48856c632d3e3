//! How the run was made, and how to repeat it.

use crate::page::figures::{bytes, count, duration};
use crate::page::html::Text;
use crate::report::{About, Report, Resumption};

/// Command, seed, version, machine, images and interruptions.
pub fn origin(report: &Report) -> String {
    let Some(run) = &report.run else { return String::new() };
    let About { seed, command, version, hardware, data, resumed, .. } = run;
    let seconds: f64 = report.stages.iter().map(|row| row.seconds).sum();
    let mut items = vec![
        ("command", format!("<code>{}</code>", Text(command.join(" ")))),
        ("seed", seed.to_string()),
        ("version", format!("lopper {}", Text(version))),
        (
            "machine",
            format!(
                "{}; {} with {} cores{}",
                Text(&hardware.device),
                Text(&hardware.cpu),
                hardware.cores,
                hardware.memory.map_or(String::new(), |memory| format!(", {} of memory", bytes(memory)))
            ),
        ),
        ("time", duration(seconds)),
    ];
    if let Some(data) = data {
        let path = data.path.as_deref().unwrap_or("built in");
        let (training, validation) =
            (count(data.training_images as u64), count(data.validation_images as u64));
        let (classes, size, batch) = (data.classes.len(), data.size, data.batch);
        items.push((
            "images",
            format!(
                "<code>{}</code>: {training} training and {validation} validation images, {classes} classes, {size} px, \
                 batches of {batch}",
                Text(path)
            ),
        ));
        items.push(("classes", Text(data.classes.join(", ")).to_string()));
    }
    if !resumed.is_empty() {
        let list: Vec<String> = resumed.iter().map(place).collect();
        items.push(("resumed", list.join("<br>")));
    }
    let items: String =
        items.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n")).collect();
    format!(
        "<section class=\"part\" id=\"repeat\">\n<h2>How to repeat it</h2>\n<p>The same command on the same images with \
         this version gives the same bits, for any number of threads, on any machine with the same instruction set. An \
         interrupted run that goes on with <code>--resume</code> gives them, too.</p>\n<dl>\n{items}</dl>\n</section>\n"
    )
}

/// Where the run went on, in words.
fn place(resumption: &Resumption) -> String {
    let Resumption { stage, epoch, step, time } = resumption;
    let at = match (stage, epoch, step) {
        (Some(stage), Some(epoch), Some(step)) => {
            format!("in stage {}, epoch {epoch}, after step {step}", Text(stage))
        }
        (Some(stage), ..) => format!("with stage {}", Text(stage)),
        (None, ..) => "with all stages finished".into(),
    };
    format!("{}: went on {at}", Text(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumption_names_its_place() {
        let at = |stage: Option<&str>, epoch| Resumption {
            stage: stage.map(str::to_string),
            epoch,
            step: epoch.map(|_| 7),
            time: "2026-01-31 12:00 UTC".into(),
        };
        let begin = "2026-01-31 12:00 UTC: went on ";
        assert_eq!(
            place(&at(Some("a<b"), Some(2))),
            format!("{begin}in stage a&lt;b, epoch 2, after step 7")
        );
        assert_eq!(place(&at(Some("b"), None)), format!("{begin}with stage b"));
        assert_eq!(place(&at(None, None)), format!("{begin}with all stages finished"));
    }
}
