//! Compression without training: every granularity, criterion and context works, or is refused with the reason.

use crate::support::{Toy, small_net};
use lopper_compress::criteria::{CRITERIA, Criterion, Evidence, Need};
use lopper_compress::granularity::GRANULARITIES;
use lopper_compress::sparsify::Sparsity;
use lopper_compress::{Context, Granularity, PruneConfig, SparsifyConfig, sparsify};
use lopper_engine::train::freeze;
use lopper_engine::{Device, Graph};

const CONTEXTS: [Context; 2] = [Context::Local, Context::Global];

/// The granularities of the table, with blocks that divide widths and blocks that do not, and N:M.
fn granularities() -> Vec<Granularity> {
    let sizes = |granularity: &Granularity| match granularity.check() {
        Ok(()) => vec![*granularity],
        Err(_) => [2, 3, 8].map(|size| granularity.block(size)).to_vec(),
    };
    let ratios = ["1:2", "2:4"].map(|text| text.parse().unwrap());
    let divided = GRANULARITIES.iter().filter(|granularity| **granularity != Granularity::LAYER);
    divided.flat_map(sizes).chain(ratios).collect()
}

fn criteria() -> impl Iterator<Item = Criterion> {
    CRITERIA.iter().map(|criterion| criterion.name().parse().unwrap())
}

/// Criteria that score whole filters or rows only, besides γ.
const OF_FILTERS: [&str; 4] = ["geometric_median", "mean_activation", "apoz", "hrank"];

/// Whether `criterion` compares weights with those at the beginning of a training, which there is none of here.
fn compares_with_the_beginning(criterion: &Criterion) -> bool {
    criterion.needs().iter().any(|need| matches!(need, Need::InitialWeights | Need::UpdatedWeights))
}

/// A plain network, one whose body is frozen, and one with single weights masked.
fn networks() -> Vec<Graph> {
    let mut plain = small_net(3);
    plain.info.input = [4, 4, 2];
    let mut frozen = plain.clone();
    let end = frozen.id("body.conv2").unwrap();
    freeze(&mut frozen, end);
    let weights = SparsifyConfig { granularity: Granularity::WEIGHT, ..SparsifyConfig::new(0.3) };
    let masked = sparsify(&plain, &weights, None).unwrap().graph;
    vec![plain, frozen, masked]
}

/// Sparsifies half of `graph` with measured evidence, and checks the share that is dropped.
fn sparsify_half(graph: &Graph, config: &SparsifyConfig) -> lopper_engine::Result<()> {
    config.check()?;
    let sites = config.sites(graph)?;
    let mut data = Toy::new(2, 3);
    let evidence = Evidence::measure(&config.criterion, graph, &sites, &mut data, 2, &Device::cpu())?;
    let sparse = sparsify(graph, config, Some(&evidence))?.graph;
    let measured = Sparsity::measure(&sparse, config)?;
    // Each layer keeps a group, and each layer or the network rounds once.
    let wanted = |groups: usize, layers: usize| (groups as f64 * 0.5).round().min((groups - layers) as f64);
    let layers = &measured.layers;
    let groups: usize = layers.iter().map(|layer| layer.groups).sum();
    let least = match config.context {
        Context::Local | Context::Stage => layers.iter().map(|layer| wanted(layer.groups, 1)).sum(),
        Context::Global => wanted(groups, layers.len()),
    };
    let found: usize = layers.iter().map(|layer| layer.zero_groups).sum();
    assert!(found as f64 >= least, "{config:?}: {found} of {groups} groups, expected {least}:\n{measured}");
    Ok(())
}

#[test]
fn every_combination_sparsifies_or_says_why_not() {
    let (mut done, mut refused) = (0, 0);
    for graph in networks() {
        for (granularity, criterion, context) in granularities()
            .into_iter()
            .flat_map(|g| criteria().flat_map(move |c| CONTEXTS.map(|context| (g, c.clone(), context))))
        {
            // Many rounds take long: two granularities are enough.
            if criterion.rounds() > 1 && ![Granularity::WEIGHT, Granularity::FILTER].contains(&granularity) {
                continue;
            }
            let sparsity = granularity.quota().is_none().then_some(0.5);
            let config = SparsifyConfig {
                sparsity,
                granularity,
                criterion: criterion.clone(),
                context,
                ..SparsifyConfig::new(0.5)
            };
            match sparsify_half(&graph, &config) {
                Ok(()) => done += 1,
                Err(error) => {
                    let error = error.to_string();
                    let reasons = match criterion.name() {
                        "batch_norm_gamma" => ["expected granularity filter", "no layer is left"],
                        _ if compares_with_the_beginning(&criterion) => ["it is while training"; 2],
                        name => {
                            // Nothing else is tied to a granularity, and every granularity applies to a layer.
                            assert!(OF_FILTERS.contains(&name), "{config:?}: {error}");
                            ["expected granularity filter"; 2]
                        }
                    };
                    assert!(reasons.iter().any(|reason| error.contains(reason)), "{config:?}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(done > 300 && refused > 50, "{done} done, {refused} refused");
}

#[test]
fn every_criterion_prunes_convolutions_and_linear_layers() {
    for graph in networks() {
        for criterion in criteria().filter(|criterion| !compares_with_the_beginning(criterion)) {
            for (context, include) in CONTEXTS.into_iter().flat_map(|c| [(c, "body"), (c, "fc1")]) {
                let gamma_of_linear = include == "fc1" && criterion.name() == "batch_norm_gamma";
                let config = PruneConfig {
                    criterion: Some(criterion.clone()),
                    fraction: Some(0.5),
                    context,
                    include: vec![include.into()],
                    ..PruneConfig::default()
                };
                let sites = config.sites(&graph).unwrap();
                let (mut data, device) = (Toy::new(2, 3), Device::cpu());
                let evidence = Evidence::measure(&criterion, &graph, &sites, &mut data, 2, &device).unwrap();
                let plan = match config.plan(&graph, Some(&evidence)) {
                    Ok(plan) => plan,
                    // No batch norm scales a linear layer here.
                    Err(error) => {
                        assert!(gamma_of_linear, "{config:?}: {error}");
                        assert!(error.to_string().contains("batch_norm_gamma scores no channels"), "{error}");
                        continue;
                    }
                };
                assert!(!gamma_of_linear, "{config:?}");
                let groups = plan.groups.iter().filter(|group| group.layers.contains(&"fc1".to_string()));
                let kept: Vec<usize> = groups.map(|group| group.keep.len()).collect();
                assert_eq!(kept, [if include == "fc1" { 5 } else { 10 }], "{config:?}");
                let (kept, all) = plan.counts();
                assert!(kept < all, "{config:?}");
            }
        }
    }
}

/// Frozen weights are not sparsified, but a criterion may still evaluate them for pruning.
#[test]
fn a_frozen_layer_has_evidence() {
    let [plain, frozen, _] = networks().try_into().unwrap();
    let config = PruneConfig {
        criterion: Some("taylor".parse().unwrap()),
        fraction: Some(0.5),
        include: vec!["body.conv1".into()],
        ..PruneConfig::default()
    };
    let plan = |graph: &Graph| {
        let sites = config.sites(graph).unwrap();
        let criterion = config.criterion.clone().unwrap();
        let mut data = Toy::new(2, 3);
        let evidence = Evidence::measure(&criterion, graph, &sites, &mut data, 2, &Device::cpu()).unwrap();
        config.plan(graph, Some(&evidence)).unwrap()
    };
    assert!(!frozen.param("body.conv1.weight").unwrap().trainable);
    assert_eq!(plan(&frozen), plan(&plain));
}

#[test]
fn evidence_of_another_granularity_is_refused() {
    let graph = &networks()[0];
    let config = |granularity| SparsifyConfig {
        criterion: "grad".parse().unwrap(),
        granularity,
        ..SparsifyConfig::new(0.5)
    };
    let filters = config(Granularity::FILTER);
    let sites = filters.sites(graph).unwrap();
    let (mut data, device) = (Toy::new(2, 3), Device::cpu());
    let evidence = Evidence::measure(&filters.criterion, graph, &sites, &mut data, 2, &device).unwrap();
    let error = sparsify(graph, &config(Granularity::KERNEL), Some(&evidence)).unwrap_err().to_string();
    for words in ["criterion taylor", "`body.conv1`", "12 groups", "measure the evidence at the `sites`"] {
        assert!(error.contains(words), "{error}");
    }
}
