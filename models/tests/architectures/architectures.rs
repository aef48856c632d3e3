//! Tests of the architectures against published counts: exact parameter counts, and multiply-accumulates as printed.

use lopper_engine::{Graph, Layer};
use lopper_models::{Head, Options, build, freeze_body, names, numbered_classes, our_name, pretraining};
use std::collections::HashSet;

/// Builds the network with zero weights, for counting.
fn counted(name: &str, classes: usize, width: f64, input: [usize; 3]) -> Graph {
    let options = Options { width, seed: None, ..Options::new(numbered_classes(classes), input) };
    build(name, &options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn macs(graph: &Graph) -> u64 {
    graph.costs(graph.info.input).unwrap().iter().map(|cost| cost.macs).sum()
}

/// Parameter counts of the nodes that have parameters, in graph order.
fn params_by_layer(graph: &Graph) -> Vec<usize> {
    let counts = graph.nodes().iter().map(|n| n.layer.params().iter().map(|(_, p)| p.value().len()).sum());
    counts.filter(|&count| count > 0).collect()
}

const COLOR_224: [usize; 3] = [224, 224, 3];
const COLOR_32: [usize; 3] = [32, 32, 3];

/// Values from torchvision's table of classification weights: parameters, and GMACs (which it calls GFLOPS) at the
/// weights' size.
const TORCHVISION: &[(&str, u64, &str)] = &[
    ("alexnet", 61_100_840, "0.714"),
    ("vgg11", 132_863_336, "7.609"),
    ("vgg11_bn", 132_868_840, "7.609"),
    ("vgg13", 133_047_848, "11.308"),
    ("vgg13_bn", 133_053_736, "11.308"),
    ("vgg16", 138_357_544, "15.470"),
    ("vgg16_bn", 138_365_992, "15.470"),
    ("vgg19", 143_667_240, "19.632"),
    ("vgg19_bn", 143_678_248, "19.632"),
    ("googlenet", 6_624_904, "1.498"),
    ("resnet18", 11_689_512, "1.814"),
    ("resnet34", 21_797_672, "3.664"),
    ("resnet50", 25_557_032, "4.089"),
    ("resnet101", 44_549_160, "7.801"),
    ("resnet152", 60_192_808, "11.514"),
    ("resnext50_32x4d", 25_028_904, "4.230"),
    ("resnext101_32x8d", 88_791_336, "16.414"),
    ("resnext101_64x4d", 83_455_272, "15.460"),
    ("wide_resnet50_2", 68_883_240, "11.398"),
    ("wide_resnet101_2", 126_886_696, "22.753"),
    ("densenet121", 7_978_856, "2.834"),
    ("densenet161", 28_681_000, "7.728"),
    ("densenet169", 14_149_480, "3.360"),
    ("densenet201", 20_013_928, "4.291"),
    ("squeezenet1_0", 1_248_424, "0.819"),
    ("squeezenet1_1", 1_235_496, "0.349"),
    ("mobilenet_v2", 3_504_872, "0.301"),
    ("mnasnet0_5", 2_218_512, "0.104"),
    ("mnasnet0_75", 3_170_208, "0.215"),
    ("mnasnet1_0", 4_383_312, "0.314"),
    ("mnasnet1_3", 6_282_256, "0.526"),
    ("regnet_x_400mf", 5_495_976, "0.414"),
    ("regnet_x_800mf", 7_259_656, "0.800"),
    ("regnet_x_1_6gf", 9_190_136, "1.603"),
    ("regnet_x_3_2gf", 15_296_552, "3.177"),
    ("regnet_x_8gf", 39_572_648, "7.995"),
    ("regnet_x_16gf", 54_278_536, "15.941"),
    ("regnet_x_32gf", 107_811_560, "31.736"),
    ("mobilenet_v3_small", 2_542_856, "0.057"),
    ("mobilenet_v3_large", 5_483_032, "0.217"),
    ("efficientnet_b0", 5_288_548, "0.386"),
    ("efficientnet_b1", 7_794_184, "0.687"),
    ("efficientnet_b2", 9_109_994, "1.088"),
    ("efficientnet_b3", 12_233_232, "1.827"),
    ("efficientnet_b4", 19_341_616, "4.394"),
    ("shufflenet_v2_x0_5", 1_366_792, "0.040"),
    ("shufflenet_v2_x1_0", 2_278_604, "0.145"),
    ("shufflenet_v2_x1_5", 3_503_624, "0.296"),
    ("shufflenet_v2_x2_0", 7_393_996, "0.583"),
    ("regnet_y_400mf", 4_344_144, "0.402"),
    ("regnet_y_800mf", 6_432_512, "0.834"),
    ("regnet_y_1_6gf", 11_202_430, "1.612"),
    ("regnet_y_3_2gf", 19_436_338, "3.176"),
    ("regnet_y_8gf", 39_381_472, "8.473"),
    ("regnet_y_16gf", 83_590_140, "15.912"),
    ("regnet_y_32gf", 145_046_770, "32.280"),
    ("convnext_tiny", 28_589_128, "4.456"),
    ("convnext_small", 50_223_688, "8.684"),
    ("convnext_base", 88_591_464, "15.355"),
    ("convnext_large", 197_767_336, "34.361"),
];

#[test]
fn torchvision_networks_have_their_parameters_and_macs() {
    for &(name, params, gmacs) in TORCHVISION {
        let size = pretraining(name).unwrap().size;
        let graph = counted(name, 1000, 1.0, [size, size, 3]);
        assert_eq!(graph.param_count(), params, "{name}");
        // ConvNeXt's factors of channels are depthwise convolutions here, and torchvision does not count them.
        let scales = graph.nodes().iter().map(|node| node.name.ends_with("layer_scale"));
        let costs = graph.costs(graph.info.input).unwrap();
        let macs: u64 = costs.iter().zip(scales).filter(|(_, scale)| !scale).map(|(cost, _)| cost.macs).sum();
        assert_eq!(format!("{:.3}", macs as f64 / 1e9), gmacs, "{name}");
    }
}

/// timm's counts.
#[test]
fn timms_networks_have_their_parameters() {
    for (name, params) in [
        ("mobilenet_v1", 4_231_976),
        ("efficientnet_lite1", 5_416_680),
        ("efficientnet_lite2", 6_092_072),
        ("efficientnet_lite3", 8_197_096),
        ("efficientnet_lite4", 13_006_568),
    ] {
        assert_eq!(counted(name, 1000, 1.0, COLOR_224).param_count(), params, "{name}");
    }
    // The paper's table 7: 569 million multiply-adds.
    assert_eq!(format!("{:.0}", macs(&counted("mobilenet_v1", 1000, 1.0, COLOR_224)) as f64 / 1e6), "569");
}

/// Counted by the package `efficientnet-lite-pytorch`.
#[test]
fn efficientnet_lite0_has_its_parameters() {
    let graph = counted("efficientnet_lite0", 1000, 1.0, COLOR_224);
    assert_eq!(graph.param_count(), 4_652_008);
    assert_eq!(format!("{:.3}", macs(&graph) as f64 / 1e9), "0.385");
    let shapes = graph.shapes([1, 224, 224, 3]).unwrap();
    assert_eq!(shapes[graph.id("blocks.6.0.bn3").unwrap()], [1, 7, 7, 320]);
}

#[test]
fn vgg16_bn_has_the_published_counts_for_imagenette() {
    let graph = counted("vgg16_bn", 10, 1.0, [128, 128, 3]);
    assert_eq!(graph.param_count(), 134_309_962);
    assert_eq!(format!("{:.2}", macs(&graph) as f64 / 1e9), "5.13");
}

#[test]
fn cifar_resnets_have_their_parameters() {
    let projected = [(20, 272_474), (32, 466_906), (44, 661_338), (56, 855_770)];
    for (depth, params) in projected {
        let graph = counted(&format!("cifar_resnet{depth}_b"), 10, 1.0, COLOR_32);
        assert_eq!(graph.param_count(), params, "{depth} layers with projections");
    }
    let table = [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)];
    for (depth, params) in table {
        let graph = counted(&format!("cifar_resnet{depth}"), 10, 1.0, COLOR_32);
        assert_eq!(graph.param_count(), params, "{depth} layers");
        let is_weighted = |l: &Layer| matches!(l, Layer::Conv2d(_) | Layer::Linear(_));
        assert_eq!(graph.nodes().iter().filter(|n| is_weighted(&n.layer)).count(), depth);
    }
}

#[test]
fn student_net_has_its_parameters_at_each_width() {
    let published = [256_779, 236_066, 217_850, 200_354, 185_091, 171_606];
    for (k, params) in (0..).zip(published) {
        let graph = counted("student_net", 11, 0.95_f64.powi(k), [256, 256, 3]);
        assert_eq!(graph.param_count(), params, "0.95^{k}");
    }
}

#[test]
fn small_net_has_its_parameters_layer_by_layer() {
    let full = params_by_layer(&counted("small_net", 10, 1.0, [128, 128, 3]));
    assert_eq!(full, [1_520, 40, 25_050, 100, 125_100, 200, 5_050, 510]);
    // Pruning 30 % of each layer gives the same network at a width of 0.7.
    let pruned = params_by_layer(&counted("small_net", 10, 0.7, [128, 128, 3]));
    assert_eq!(pruned, [1_064, 28, 12_285, 70, 61_320, 140, 3_550, 510]);
}

#[test]
fn fastai_head_has_the_published_trainable_parameters() {
    let options =
        Options { head: Head::Fastai, seed: None, ..Options::new(numbered_classes(43), [96, 96, 3]) };
    let mut graph = build("resnet18", &options).unwrap();
    assert_eq!(graph.param_count(), 11_725_888);

    freeze_body(&mut graph).unwrap();
    let trainable = |graph: &Graph| {
        let params = graph.params().filter(|(_, p)| p.trainable);
        params.map(|(_, p)| p.value().len()).sum::<usize>()
    };
    // The head has two batch norms and two linear layers; the batch norms of the body have 9,600 parameters.
    let head = 2 * 1024 + 1024 * 512 + 2 * 512 + 512 * 43;
    assert_eq!((trainable(&graph), head + 9_600), (558_976, 558_976));

    let is_norm = |l: &Layer| matches!(l, Layer::BatchNorm(_));
    let norms = graph.nodes().iter().filter(|n| is_norm(&n.layer)).flat_map(|n| n.layer.params());
    assert_eq!(norms.map(|(_, p)| p.value().len()).sum::<usize>(), 12_672);
}

#[test]
fn demo_networks_have_the_documented_sizes() {
    let (student, teacher) = (counted("vgg8_bn", 10, 1.0, COLOR_32), counted("resnet8", 10, 1.0, COLOR_32));
    assert_eq!((macs(&student), macs(&teacher)), (15_239_680, 44_927_488));
    assert_eq!((student.param_count(), teacher.param_count()), (589_066, 1_210_410));
}

#[test]
fn every_architecture_builds_at_any_width_size_and_number_of_classes() {
    for name in names() {
        for (classes, width, input) in
            [(2, 0.25, [64, 48, 3]), (7, 0.01, [96, 96, 1]), (3, 1.3, [33, 65, 4]), (10, 1.0, COLOR_32)]
        {
            // The largest networks are slow to allocate; narrow ones test the same.
            let families = ["alexnet", "vgg1", "resnet1", "resnext", "wide", "regnet", "convnext"];
            let large = families.iter().any(|family| name.starts_with(family));
            let width = if large { width * 0.2 } else { width };
            for head in [Head::Own, Head::Fastai] {
                let options =
                    Options { width, head, seed: None, ..Options::new(numbered_classes(classes), input) };
                let ([h, w, c], built) = (input, build(name, &options));
                if name == "alexnet" && h.min(w) < 63 {
                    let message = built.unwrap_err().to_string();
                    assert!(message.starts_with("layer `features."), "{message}");
                    continue;
                }
                let graph = built.unwrap_or_else(|e| panic!("{name} {options:?}: {e}"));
                graph.check().unwrap();
                let shapes = graph.shapes([2, h, w, c]).unwrap();
                assert_eq!(shapes[graph.output()], [2, classes], "{name}");
                assert_eq!((graph.info.arch.as_str(), graph.info.input), (name, input));
                assert_eq!(graph.info.classes.len(), classes);
            }
        }
    }
}

#[test]
fn parameters_have_torchvision_names() {
    let has = |arch: &str, paths: &[&str]| {
        let graph = counted(arch, 10, 0.1, COLOR_224);
        for path in paths {
            assert!(graph.param(path).is_ok(), "{arch}: {path}");
        }
    };
    has("vgg16_bn", &["features.0.bias", "features.1.weight", "features.40.weight", "features.41.bias"]);
    has("vgg16_bn", &["classifier.0.weight", "classifier.3.bias", "classifier.6.weight"]);
    has("vgg11", &["features.0.weight", "features.18.bias", "classifier.6.bias"]);
    has(
        "resnet18",
        &["conv1.weight", "bn1.bias", "layer2.0.downsample.0.weight", "layer4.1.bn2.weight", "fc.bias"],
    );
    has("resnet50", &["layer1.0.conv3.weight", "layer1.0.downsample.1.bias", "layer4.2.bn3.weight"]);
    has("cifar_resnet20", &["conv1.weight", "layer3.2.conv2.weight", "layer3.2.bn2.bias", "linear.bias"]);
    has(
        "mobilenet_v2",
        &[
            "features.0.0.weight",
            "features.1.conv.0.1.bias",
            "features.1.conv.2.weight",
            "features.17.conv.3.bias",
        ],
    );
    has("mobilenet_v2", &["features.2.conv.1.0.weight", "features.18.1.weight", "classifier.1.bias"]);
    has("student_net", &["cnn.0.0.weight", "cnn.7.3.bias", "fc.0.weight"]);
    let downsampled = counted("resnet18", 10, 0.1, COLOR_224);
    assert!(
        downsampled.param("layer1.0.downsample.0.weight").is_err(),
        "the first stage of resnet18 keeps its shape"
    );
    let names: Vec<String> = downsampled.nodes().iter().map(|n| n.name.clone()).collect();
    for name in ["relu", "maxpool", "layer1.0.relu", "layer1.0.add", "layer1.0.relu_1", "avgpool", "flatten"]
    {
        assert!(names.iter().any(|n| n == name), "{name}");
    }
}

/// Every tensor of another repository has one of ours, and the other way round.
#[test]
fn other_repositories_names_are_ours() {
    // timm's mobilenetv2_100, and efficientnet_pytorch: which convolutions a block has, and their norms.
    let timm = |stage: usize| match stage {
        0 => &["conv_dw", "bn1", "conv_pw", "bn2"][..],
        _ => &["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"],
    };
    let melas = |stage: usize| match stage {
        0 => &["_depthwise_conv", "_bn1", "_project_conv", "_bn2"][..],
        _ => &["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"],
    };
    let blocks = |counts: [usize; 7]| {
        (0..7).flat_map(move |stage| (0..counts[stage]).map(move |block| (stage, block)))
    };
    let mobilenet = blocks([1, 2, 3, 4, 3, 3, 1]).flat_map(|(stage, block)| {
        timm(stage).iter().map(move |layer| format!("blocks.{stage}.{block}.{layer}"))
    });
    let efficientnet = blocks([1, 2, 2, 3, 3, 4, 1]).enumerate().flat_map(|(index, (stage, _))| {
        melas(stage).iter().map(move |layer| format!("_blocks.{index}.{layer}"))
    });
    let ends = |names: [&str; 5]| names.map(str::to_string).to_vec();
    let cases = [
        (
            "mobilenet_v2",
            [ends(["conv_stem", "bn1", "conv_head", "bn2", "classifier"]), mobilenet.collect()].concat(),
        ),
        (
            "efficientnet_lite0",
            [ends(["_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc"]), efficientnet.collect()].concat(),
        ),
    ];
    for (arch, theirs) in cases {
        let graph = counted(arch, 10, 0.1, COLOR_32);
        let named = |module: &String| {
            let name =
                our_name(arch, &format!("{module}.weight")).unwrap_or_else(|| panic!("{arch}: {module}"));
            graph.param(&name).unwrap_or_else(|e| panic!("{arch}: {module}: {e}"));
            name
        };
        let ours: HashSet<String> = theirs.iter().map(named).collect();
        let weights = graph.params().filter(|(path, _)| path.ends_with(".weight")).count();
        assert_eq!((ours.len(), theirs.len()), (weights, weights), "{arch}");
        assert_eq!(our_name(arch, "blocks.7.0.conv_pw.weight"), None);
        assert_eq!(our_name(arch, "_blocks.16._bn0.weight"), None);
    }
}

#[test]
fn initial_weights_depend_only_on_the_seed_and_the_layer() {
    let built = |name: &str, seed| {
        let options =
            Options { seed: Some(seed), width: 0.1, ..Options::new(numbered_classes(10), COLOR_224) };
        build(name, &options).unwrap()
    };
    let bits =
        |graph: &Graph| graph.params().flat_map(|(_, p)| p.value().data().to_vec()).collect::<Vec<f32>>();
    assert_eq!(bits(&built("resnet18", 1)), bits(&built("resnet18", 1)));
    assert_ne!(bits(&built("resnet18", 1)), bits(&built("resnet18", 2)));
    let (shallow, deep) = (built("resnet18", 1), built("resnet34", 1));
    let path = "layer4.1.conv2.weight";
    assert_eq!(shallow.param(path).unwrap().value().data(), deep.param(path).unwrap().value().data());
    let drawn: HashSet<u32> = shallow
        .params()
        .filter(|(path, _)| path.contains("conv"))
        .map(|(_, p)| p.value().data()[0].to_bits())
        .collect();
    assert!(drawn.len() > 15, "convolutions draw different weights");
}

#[test]
fn invalid_options_are_rejected_with_a_description() {
    let refused = |name: &str, options: &Options| build(name, options).unwrap_err().to_string();
    let good = Options { seed: None, ..Options::new(numbered_classes(10), COLOR_32) };
    let unknown = refused("resnet-18", &good);
    assert!(unknown.contains("`resnet-18`") && unknown.contains("resnet18"), "{unknown}");
    assert!(refused("vgg16_nb", &good).contains("vgg16_bn"));
    for width in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(refused("resnet18", &Options { width, ..good.clone() }).starts_with("width:"));
    }
    assert!(refused("resnet18", &Options { classes: Vec::new(), ..good.clone() }).starts_with("classes:"));
    assert!(refused("resnet18", &Options { input: [0, 32, 3], ..good.clone() }).starts_with("input:"));
    let small = refused("vgg16_bn", &Options { input: [16, 16, 3], ..good });
    assert!(small.starts_with("layer `features.43`"), "{small}");
}

/// Parameters of the paper's table 4 at a width of 1.4, and of torchvision's network at 0.5.
#[test]
fn mobilenet_v2_rounds_its_widths_as_published() {
    let params = |width| counted("mobilenet_v2", 1000, width, COLOR_224).param_count();
    assert_eq!(format!("{:.1}", params(1.4) as f64 / 1e6), "6.1");
    assert_eq!(params(0.5), 1_968_680);
}
