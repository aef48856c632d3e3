//! The prices of cuts: suffixes have the bits of whole runs, and a sweep that is killed ends like one that is not.

use crate::support::command::{lopper, names, text};
use crate::support::random_graph::networks;
use lopper::sensitivity::{Prefix, Sensitivity};
use lopper_engine::data::Batch;
use lopper_engine::{Device, Graph, Known, Layer};
use lopper_kernels::cpu::{Cpu, Isa};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// The nodes before `front` that a node from `front` on reads.
fn boundary(graph: &Graph, front: usize) -> Vec<usize> {
    let later = graph.nodes()[front..].iter().flat_map(|node| node.inputs.iter().copied());
    let mut read: Vec<usize> = later.filter(|&input| input < front).collect();
    read.sort_unstable();
    read.dedup();
    read
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// From every node on, on every instruction set.
    #[test]
    fn a_suffix_has_the_bits_of_a_whole_run(net in networks()) {
        let (graph, images) = (net.graph(), net.images(3));
        for cpu in Isa::ALL.iter().filter_map(|&isa| Cpu::with_isa(isa)) {
            let device = Device::Cpu(cpu);
            let whole = graph.logits(&device, images.clone()).unwrap();
            let mut known = Known::from([(0, images.clone())]);
            for front in 1..graph.nodes().len() {
                let wanted = boundary(&graph, front);
                let values = graph.values_from(&device, &known, &wanted).unwrap();
                known = wanted.into_iter().zip(values).collect();
                let logits = graph.values_from(&device, &known, &[graph.output()]).unwrap();
                prop_assert_eq!(bits(logits[0].data()), bits(whole.data()), "from node {}", front);
            }
        }
    }

    /// A change is found at the node that was changed, and the network with it is scored like from the images on.
    #[test]
    fn a_cut_is_scored_like_the_whole_network(net in networks(), at in any::<prop::sample::Index>()) {
        let (graph, images, device) = (net.graph(), net.images(4), Device::cpu());
        let weighted: Vec<usize> = (0..graph.nodes().len())
            .filter(|&id| matches!(graph.nodes()[id].layer, Layer::Conv2d(_) | Layer::Linear(_) | Layer::BatchNorm(_)))
            .collect();
        let changed = weighted[at.index(weighted.len())];
        let mut cut = graph.clone();
        for (_, param) in cut.layer_mut(changed).params_mut() {
            let halved = param.value().data().iter().map(|value| value * 0.5).collect();
            let shape = param.value().shape().to_vec();
            param.set_value(lopper_engine::Tensor::from_vec(&shape, halved).unwrap()).unwrap();
        }
        let differs = graph.params().zip(cut.params()).any(|((_, a), (_, b))| a.value().data() != b.value().data());
        let batch = || Ok(Batch { images: images.clone(), labels: vec![0, 1, 0, 1], mixed: None });
        let mut prefix = Prefix::new(&graph, [batch(), batch()], &device).unwrap();
        prop_assert_eq!(prefix.first_change(&graph), None);
        prop_assert_eq!(prefix.first_change(&cut), differs.then_some(changed));
        let whole = prefix.outcomes(&cut, || Ok(())).unwrap();
        prefix.advance(changed).unwrap();
        let suffix = prefix.outcomes(&cut, || Ok(())).unwrap();
        let bits = |outcomes: &[lopper_engine::train::metrics::Outcome]| -> Vec<_> {
            outcomes.iter().map(|o| (o.predicted, o.rank, o.loss.to_bits())).collect()
        };
        prop_assert_eq!(bits(&suffix), bits(&whole));
        prop_assert_eq!(whole.len(), 8);
    }
}

#[test]
fn a_value_that_is_not_known_is_an_error() {
    let mut graph = Graph::new(2);
    graph.push("relu", Layer::Activation(lopper_engine::layer::Activation::Relu), &[0]).unwrap();
    let device = Device::cpu();
    assert!(graph.values_from(&device, &Known::new(), &[1]).is_err());
    assert!(graph.values_from(&device, &Known::new(), &[7]).unwrap_err().to_string().contains("no node 7"));
}

const DATA: [&str; 6] = ["--data", "fashion-mnist", "--limit", "12", "--batch", "25"];

/// Trains a small network in `dir`.
fn network(dir: &Path) -> PathBuf {
    let path = dir.join("net.safetensors");
    let build =
        ["train", "--arch", "resnet8", "--width", "0.5", "--size", "16", "--epochs", "2", "--seed", "3"];
    lopper(&[&build[..], &DATA, &["--learning-rate", "0.01", "--out", text(&path)]].concat()).succeeded();
    path
}

/// The arguments of a sweep of `model` into `out`.
fn sweep<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let command = ["sensitivity", text(model), "--fractions", "0.25,0.75", "--out", text(out)];
    [&command[..], &DATA, more].concat()
}

fn read(out: &Path) -> Sensitivity {
    serde_json::from_str(&fs::read_to_string(out.join("sensitivity.json")).unwrap()).unwrap()
}

/// Every figure that no clock takes part in.
fn figures(found: &Sensitivity) -> Vec<String> {
    let of = |p: &lopper::sensitivity::Point| {
        let tally = &p.tally;
        format!(
            "{} {:?} {} {} {} {} {} {}",
            p.way, p.layers, p.fraction, tally.correct, p.lost, p.gained, tally.params, tally.macs
        )
    };
    found.points.iter().map(of).collect()
}

#[test]
fn a_sweep_gives_the_same_numbers_for_any_number_of_threads_and_its_plan_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let model = network(dir.path());
    let (one, two, plan) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("plan.toml"));
    let write = ["--tolerance", "3%", "--write-plan", text(&plan), "--threads", "1"];
    let printed = lopper(&sweep(&model, &one, &write)).succeeded().out;
    assert!(printed.contains("cells: accuracy lost"), "{printed}");
    lopper(&sweep(&model, &two, &["--threads", "2", "--json"])).succeeded();
    let (first, second) = (read(&one), read(&two));
    assert_eq!(figures(&first), figures(&second));
    assert_eq!(first.points.len(), first.planned);
    for way in ["prune", "sparsify weight"] {
        assert!(first.points.iter().any(|point| point.way == way), "{way}");
    }
    let deeper = |a: &lopper::sensitivity::Point, b: &lopper::sensitivity::Point| {
        a.way != "prune"
            || b.way != "prune"
            || a.layers != b.layers
            || (a.tally.macs > b.tally.macs && a.tally.params > b.tally.params)
    };
    assert!(first.points.windows(2).all(|pair| deeper(&pair[0], &pair[1])), "deeper cuts leave less");
    assert!(first.uncut.ms > 0.0 && first.points.iter().all(|p| p.tally.ms > 0.0));
    let page = fs::read_to_string(one.join("sensitivity.html")).unwrap();
    assert!(page.contains("class=\"heat\"") && page.contains("The plan that follows"), "{page}");
    let table = fs::read_to_string(one.join("sensitivity.csv")).unwrap();
    assert_eq!(table.lines().count(), first.points.len() + 1);

    // The plan, replayed, gives the network whose price was measured.
    let together = first.plan.unwrap().together.expect("some group loses at most 3 points");
    let pruned = dir.path().join("pruned.safetensors");
    let replay = ["prune", text(&model), "--plan", text(&plan), "--out", text(&pruned), "--json"];
    let out = lopper(&[&replay[..], &DATA].concat()).succeeded().out;
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let stage = report["stages"].as_array().unwrap().last().unwrap();
    assert_eq!(stage["params"], together.tally.params);
    assert!((stage["top1"].as_f64().unwrap() - together.tally.top1).abs() < 1e-12, "{stage} {together:?}");
}

#[cfg(unix)]
#[test]
fn a_sweep_that_is_killed_goes_on() {
    use crate::support::child::{end, signal, start, wait_until};
    let dir = tempfile::tempdir().unwrap();
    let model = network(dir.path());
    let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
    lopper(&sweep(&model, &whole, &[])).succeeded();
    let mut interrupted = 0;
    for name in ["KILL", "TERM"] {
        let mut child = start(&sweep(&model, &broken, &["--resume"]));
        let known = || fs::read(broken.join("sensitivity.json")).map_or(0, |bytes| bytes.len());
        let before = known();
        if wait_until(&mut child, || known() > before) {
            signal(&child, name);
            interrupted += 1;
        }
        let run = end(child);
        assert!(run.status != Some(1), "{}", run.err);
    }
    lopper(&sweep(&model, &broken, &["--resume"])).succeeded();
    assert_eq!(figures(&read(&broken)), figures(&read(&whole)), "after {interrupted} interruptions");
    assert!(names(&broken).iter().all(|name| !name.contains("tmp")), "{:?}", names(&broken));

    // Others' points are neither overwritten nor mixed with.
    lopper(&sweep(&model, &whole, &[])).refused(&["already exists", "--force"]);
    lopper(&sweep(&model, &whole, &["--resume", "--seed", "9"])).refused(&["the seed changed"]);
}

#[test]
fn bad_options_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = network(dir.path());
    let out = dir.path().join("out");
    for (more, words) in [
        (["--ways", "prun"], "expected prune, factorize or a granularity"),
        (["--interval", "0%"], "such as 2%"),
        (["--interval", "two"], "such as 2%"),
        (["--tolerance", "101%"], "such as 2%"),
        (["--ways", "column"], "nothing to cut"),
    ] {
        lopper(&sweep(&model, &out, &more)).refused(&[words]);
    }
    let command = ["sensitivity", text(&model), "--out", text(&out)];
    lopper(&command).refused(&["--data is missing"]);
    lopper(&[&command[..], &DATA, &["--fractions", "0.5,1"]].concat()).refused(&["above 0 and below 1"]);
}

#[test]
fn cuts_are_undone_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let model = network(dir.path());
    let (out, cuts) = (dir.path().join("pruned.safetensors"), dir.path().join("cuts.csv"));
    let cut =
        ["prune", text(&model), "--criterion", "large_final", "--fraction", "0.4", "--context", "local"];
    let more = ["--out", text(&out), "--explain", text(&cuts), "--json"];
    let run = lopper(&[&cut[..], &DATA, &more].concat()).succeeded();
    assert!(run.err.contains("cuts undone one at a time"), "{}", run.err);
    serde_json::from_str::<serde_json::Value>(&run.out).expect("one JSON object");
    let plan = fs::read_to_string(dir.path().join("cuts.plan.toml")).unwrap();
    let plan: lopper_compress::PrunePlan = toml::from_str(&plan).unwrap();
    let mut reader = csv::Reader::from_path(&cuts).unwrap();
    let lines: Vec<std::collections::HashMap<String, String>> =
        reader.deserialize().map(Result::unwrap).collect();
    let cut_groups = plan.groups.iter().filter(|group| group.keep.len() < group.units).count();
    assert_eq!(lines.len(), cut_groups);
    assert!(lines.iter().all(|line| line["saved_ms"].parse::<f64>().unwrap() > 0.0), "{lines:?}");

    // A line is the network whose plan lacks the group.
    let line = &lines[0];
    let mut rest = plan.clone();
    rest.groups.retain(|group| group.layers.join(" ") != line["layers"]);
    let file = dir.path().join("rest.toml");
    fs::write(&file, toml::to_string(&rest).unwrap()).unwrap();
    let restored = dir.path().join("restored.safetensors");
    let replay = ["prune", text(&model), "--plan", text(&file), "--out", text(&restored), "--json"];
    let report: serde_json::Value =
        serde_json::from_str(&lopper(&[&replay[..], &DATA].concat()).succeeded().out).unwrap();
    let top1 = report["stages"][1]["top1"].as_f64().unwrap();
    assert!((top1 - line["top1"].parse::<f64>().unwrap()).abs() < 1e-12, "{top1} {line:?}");
    let without_images = ["prune", text(&model), "--out", text(&restored), "--explain", text(&cuts)];
    lopper(&without_images).refused(&["--data"]);
}
