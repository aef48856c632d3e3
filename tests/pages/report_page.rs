//! The report of a run in a browser: no errors, no network access, nothing wider than a phone, and names are only text.

use crate::browser::{pixels, view};
use lopper::details::{
    Change, ClassLine, DeadChannels, Details, LayerSize, LayerSizes, Metrics, SingularValue, Spectra,
    StepTime, StepTimes, TopLoss, Valued,
};
use lopper::engine::certificate::{Certificate, Claim};
use lopper::engine::train::{Accuracy, EpochMetrics, metrics::LayerSparsity};
use lopper::findings::{
    Against, Compared, Comparison, Evaluation, Findings, Found, TestedRate, Verdict, View,
};
use lopper::page::{page, picture};
use lopper::recipe::Change as Scaled;
use lopper::report::{About, Data, Hardware, ModelHash, Report, Resumption, Row};

use std::collections::BTreeMap;

/// A name that would be markup if it were not escaped.
const HOSTILE: &str = "</script><script>document.body.dataset.owned = 1</script><img src=x onerror=\"document.body.dataset.owned=1\"> ' \" & {{body}}";

/// A name that is as wide as a page.
const LONG: &str =
    "a_class_with_a_name_that_goes_on_and_on_without_a_space_until_it_is_wider_than_any_phone_is";

fn valued(value: f64) -> Option<Valued> {
    Some(Valued { value, interval: (0.9 * value, 1.0) })
}

fn metrics(classes: usize) -> Metrics {
    let name = |class: usize| match class {
        0 => HOSTILE.to_string(),
        1 => LONG.to_string(),
        _ => format!("class {class}"),
    };
    let line = |class| ClassLine {
        class: name(class),
        images: 10,
        predicted: 9,
        precision: valued(0.8),
        recall: valued(0.7),
        f1: None,
    };
    let loss = |image: &str| TopLoss {
        image: image.into(),
        class: name(0),
        predicted: None,
        loss: None,
        probability: Some(0.01),
        picture: Some(PICTURE.into()),
    };
    Metrics {
        top5: valued(0.9),
        macro_f1: valued(0.5),
        weighted_f1: valued(0.6),
        calibration_error: 0.05,
        classes: (0..classes).map(line).collect(),
        confusion: (0..classes).map(|l| (0..classes).map(|p| ((l * p) % 7) as u64).collect()).collect(),
        top_losses: [HOSTILE, LONG, "c"].map(loss).to_vec(),
        ..Metrics::default()
    }
}

/// A JPEG of one pixel is long; the browser need not show it.
const PICTURE: &str = "data:image/jpeg;base64,/9j/4AAQSkZJRg==";

fn details(trains: bool) -> Details {
    let layers: Vec<String> = (0..20).map(|i| format!("features.{i}.conv")).chain([HOSTILE.into()]).collect();
    let sparsity =
        |zeros| layers.iter().map(move |l| LayerSparsity { layer: l.clone(), zeros, weights: 100 });
    let epoch = |epoch: usize| EpochMetrics {
        train_loss: 2.0 / (epoch + 1) as f64,
        val_loss: Some(1.5),
        val: Some(Accuracy { correct: 50 + epoch, total: 100 }),
        learning_rate: 1e-3,
        sparsity: sparsity(10 * epoch as u64).collect(),
        ..EpochMetrics::unvalidated(epoch, 30)
    };
    let size = |filters: usize| Some(LayerSize { filters, live: filters / 2, params: 1000, masked: 7 });
    let time = |ms| Some(StepTime { kernel: "gemm_8x32_avx512".into(), ms, macs: 1000 });
    let each = |make: &dyn Fn(&String, usize) -> (LayerSizes, StepTimes)| {
        layers.iter().enumerate().map(|(i, layer)| make(layer, i)).unzip()
    };
    let (sizes, steps) = each(&|layer, i| {
        let before = if i == 3 { None } else { size(64) };
        (
            LayerSizes { layer: layer.clone(), kind: "conv2d".into(), before, after: size(i) },
            StepTimes { layer: layer.clone(), before: time(1.0), after: time(0.1 * i as f64) },
        )
    });
    let value = |number| SingularValue { number, value: 9.0 / number as f64, tail: 1.0 / number as f64 };
    let change = |layer: &String| Change {
        technique: "prune".into(),
        layer: layer.clone(),
        changed: true,
        text: format!("{LONG} {HOSTILE}"),
    };
    Details {
        techniques: ["prune", "fold", "sparsify", "distill", "train", "unknown"].map(String::from).to_vec(),
        epochs: if trains { (0..30).map(epoch).collect() } else { Vec::new() },
        changes: layers.iter().map(change).collect(),
        layers: sizes,
        channels: layers.iter().map(|layer| dead_channels(layer)).collect(),
        spectra: vec![Spectra {
            layer: HOSTILE.into(),
            outputs: 64,
            inputs: 128,
            rank: 32,
            error: 0.125,
            values: (1..=64).map(value).collect(),
        }],
        steps,
        metrics: Some(metrics(if trains { 43 } else { 10 })),
        certificates: vec![Certificate {
            technique: HOSTILE.into(),
            claim: Claim::Approximate { what: LONG.into(), predicted: 0.25 },
            logit_difference: Some(0.5),
            images: 64,
        }],
        right: None,
    }
}

fn dead_channels(layer: &str) -> DeadChannels {
    DeadChannels {
        layers: vec![layer.to_string(); 3],
        channels: 64,
        zero: 3,
        constant: 2,
        uneven: 0,
        unread: 1,
        constants: vec![-0.5, 0.25],
    }
}

fn findings() -> Findings {
    let step = |i: u32| TestedRate { rate: 1e-6 * 1.5f64.powi(i as i32), loss: f64::from(i), smoothed: 2.0 };
    let view = |views| View {
        views,
        top1: 0.8,
        interval: (0.7, 0.9),
        loss: f64::NAN,
        macro_f1: Some(0.8),
        weighted_f1: Some(0.8),
        weighted_f1_interval: Some((0.7, 0.9)),
        seconds: 1.5,
    };
    let figure = Compared {
        figure: "top1".into(),
        published: vec![0.8252],
        ours: vec![0.8311],
        interval: Some((0.819, 0.8429)),
        verdict: Some(Verdict::Within),
    };
    Findings {
        control: Some(HOSTILE.into()),
        lr_find: Some(Found {
            valley: 1e-3,
            steepest: 1e-4,
            minimum_tenth: 1e-2,
            steps: (0..40).map(step).collect(),
        }),
        evaluation: Some(Evaluation {
            images_of: HOSTILE.into(),
            images: 12_630,
            top1: 0.8,
            interval: (0.7, 0.9),
            loss: 1.0,
            weighted_f1: valued(0.8),
            chosen_f1: valued(0.7),
            metrics: None,
            tta: [0, 5, 10].map(view).to_vec(),
        }),
        against: vec![Against {
            stage: HOSTILE.into(),
            gained: 3,
            lost: 9,
            difference: -0.006,
            interval: (-0.013, 0.001),
            p: 0.146,
        }],
        published: Some(Comparison { figures: vec![figure], note: HOSTILE.into() }),
    }
}

fn report() -> Report {
    let row = |stage: &str, from: Option<&str>, correct, details| {
        let mut row = Row {
            stage: stage.into(),
            from: from.map(str::to_string),
            what: HOSTILE.into(),
            params: 134_309_962,
            macs: 5_130_000_000,
            bytes: 537_000_000,
            latency_ms: 52.5,
            latency_quartiles_ms: (51.0, 54.0),
            logit_difference: Some(1e-6),
            seconds: 4321.0,
            details,
            ..Row::default()
        };
        row.set_accuracy(&Accuracy { correct, total: 1000 });
        row
    };
    let run = About {
        title: HOSTILE.into(),
        seed: 1,
        recipe: format!("# {HOSTILE}\n{LONG}{LONG}{LONG}"),
        command: vec!["lopper".into(), "run".into(), HOSTILE.into(), LONG.into()],
        version: "0.1.0".into(),
        hardware: Hardware { device: HOSTILE.into(), cpu: HOSTILE.into(), cores: 2, memory: Some(1 << 34) },
        data: Some(Data {
            path: Some(HOSTILE.into()),
            classes: vec![HOSTILE.into(), LONG.into()],
            size: 128,
            batch: 16,
            training_images: 9469,
            validation_images: 3925,
        }),
        planned: vec!["baseline".into(); 4],
        profile: "quick".into(),
        scaled_down: vec![Scaled { stage: None, key: HOSTILE.into(), full: Some("1".into()), here: None }],
        resumed: vec![Resumption {
            stage: Some("tuned".into()),
            epoch: Some(2),
            step: Some(3),
            time: "2026-01-31 12:00 UTC".into(),
        }],
        binding: BTreeMap::from([(HOSTILE.to_string(), LONG.to_string())]),
        models: vec![ModelHash { stage: HOSTILE.into(), sha256: "0".repeat(64) }],
    };
    let mut rows = [
        row("baseline", None, 800, Some(details(true))),
        row(
            "a-stage-with-a-name-of-sixty-four-characters-as-long-as-is-allowed",
            Some("baseline"),
            790,
            Some(details(false)),
        ),
        row("tuned", Some("baseline"), 810, None),
    ];
    rows[2].logit_difference = None;
    rows[0].findings = findings();
    Report { stages: rows.to_vec(), run: Some(run), seeds: None }
}

fn html() -> String {
    page(HOSTILE, &report())
}

/// The page in a frame of this width, which reports its width and what sticks out. A window cannot be as narrow as a
/// phone, but a frame can.
fn framed(html: &str, width: usize) -> String {
    let source = html.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<!DOCTYPE html><body><iframe id=\"frame\" width=\"{width}\" height=\"900\" style=\"border:0\" srcdoc=\"{source}\"></iframe>
        <script>addEventListener('load', () => {{
            const page = document.getElementById('frame').contentDocument;
            page.querySelectorAll('details').forEach(part => {{ part.open = true; }});
            const inBox = node => node.closest('.scroll, pre, svg');
            const wide = [...page.body.querySelectorAll('*')].filter(node =>
                !inBox(node.parentElement) && node.getBoundingClientRect().right > {width} + 0.5);
            document.body.dataset.width = page.documentElement.scrollWidth;
            document.body.dataset.wide = wide.map(node => node.tagName + '.' + node.className).join(' ');
            document.body.dataset.owned = page.body.dataset.owned ?? 'no';
        }});</script></body>"
    )
}

#[test]
fn nothing_is_wider_than_the_page_and_names_are_text() {
    for width in [380, 1400] {
        let options = ["--dump-dom", "--window-size=1600,1000"];
        let Some(view) = crate::browser::run(&framed(&html(), width), "", &options) else { return };
        assert_eq!(view.console, Vec::<String>::new());
        let end = &view.dom[view.dom.rfind("<script>").unwrap()..];
        let body = view.dom.split("<body").nth(1).unwrap().split('>').next().unwrap();
        assert!(body.contains(&format!("data-width=\"{width}\"")), "at {width}: {body} {end}");
        assert!(body.contains("data-wide=\"\"") && body.contains("data-owned=\"no\""), "{body}");
    }
}

#[test]
fn every_section_is_there() {
    let Some(view) = view(&html(), "") else { return };
    assert_eq!(view.console, Vec::<String>::new());
    assert!(!view.dom.contains("data-owned"));
    for heading in [
        ">Result<",
        ">Learning curves<",
        ">Sparsity by epoch and by layer<",
        ">Filters by layer, before and after<",
        ">Dead channels and their constants<",
        ">Singular values<",
        ">Latency by layer: ",
        ">Confusion matrix and scores of each class<",
        ">Images most wrong<",
        ">Report of the rewrite: 21 of 21 layers changed<",
        ">Recipe<",
        ">How to repeat it<",
        "Why prune?",
        "Why distill?",
        "1 of 4 stages are not finished.",
        "went on in stage tuned, epoch 2, after step 3",
        "the intervals overlap",
        "This stage is a control: ",
        ">Range test<",
        ">Evaluation<",
        ">Published against ours<",
        "Test-time augmentation",
    ] {
        assert!(view.dom.contains(heading), "{heading}");
    }
    // A stage without details has its figures only.
    assert_eq!(view.dom.matches("<article").count(), 3);
    assert_eq!(view.dom.matches(">Learning curves<").count(), 1);
    // The chart of accuracy has two dashed lines, from the stages that start from the first.
    assert_eq!(view.dom.matches("class=\"line from\"").count(), 2);
}

#[test]
fn the_page_is_drawn_on_light_and_dark_paper() {
    let Some((light, colors)) = pixels(&html(), &["--blink-settings=preferredColorScheme=1"]) else { return };
    let Some((dark, dark_colors)) = pixels(&html(), &["--blink-settings=preferredColorScheme=0"]) else {
        return;
    };
    assert!(light < 0.3 && dark > 0.7, "dark pixels: {light} and {dark}");
    assert!(colors > 50 && dark_colors > 50, "{colors} and {dark_colors} colors: a blank page");
}

/// Only the browser can say that the page loads nothing; this says that it names nothing to load.
#[test]
fn the_page_refers_to_nothing_outside() {
    let mut plain = report();
    plain.stages.iter_mut().for_each(|row| row.what = "prune".into());
    let html = page("Plain", &Report { stages: plain.stages[2..].to_vec(), run: None, seeds: None });
    for word in ["src=", "href=\"http", "@import", "url(", "fetch(", "XMLHttpRequest", "innerHTML", "://"] {
        assert!(!html.contains(word), "{word}");
    }
    let svg = picture("Plain", &plain.stages);
    assert_eq!(svg.matches("://").count(), 1, "only the namespace of SVG");
}

#[test]
fn the_picture_stands_alone() {
    let svg = picture(HOSTILE, &report().stages);
    let embedded = format!("<!DOCTYPE html><body style=\"margin:0\">{svg}</body>");
    let Some(view) = view(&embedded, "") else { return };
    assert_eq!(view.console, Vec::<String>::new());
    assert!(view.dom.contains("class=\"point c0\"") && !view.dom.contains("data-owned"));
}

#[test]
fn a_report_reads_back() {
    let report = report();
    let json = lopper::report::pretty(&report).unwrap();
    let back: Report = serde_json::from_slice(&json).unwrap();
    assert!(page("a", &back) == page("a", &report));
    assert_eq!(lopper::report::pretty(&back).unwrap(), json);
}
