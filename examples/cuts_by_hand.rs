//! Cuts of your own: channels by index, a plan that is proposed cut by cut, and the scores behind it.
//!
//! ```sh
//! cargo run --release --example cuts_by_hand
//! ```

use lopper::prelude::*;

/// Two convolutions whose outputs are summed, and one that reads the sum.
fn network() -> Result<Graph> {
    let mut net = Builder::new([16, 16, 3], Some(1));
    let wide = net.conv("stem", Conv::same(16, 3)).batch_norm("bn1").relu("relu1").at();
    net.conv("inner", Conv::same(24, 3)).relu("relu2").conv("outer", Conv::same(16, 3)).add("sum", wide);
    net.relu("relu3").conv("last", Conv::same(32, 3)).relu("relu4");
    net.adaptive_avg_pool("pool", 1).flatten("flatten").linear("fc", 10);
    net.finish()
}

/// The network without some channels that are named by a layer and their indices there.
fn by_index(graph: &Graph) -> Result<()> {
    // Filters of the stem, with those of `outer`, which are summed with them; and channels that `outer` reads.
    let filters = PrunePlan::without_outputs(graph, "stem", &[2, 6, 9])?;
    let plan = filters.and(&PrunePlan::without_inputs(graph, "outer", &[0, 1])?)?;
    // Under `Constants::Exact`, one channel might stay to bring the constants of the others to the border.
    let pruned = prune(graph, &plan, Constants::Drop)?;
    print!("{plan}{}", pruned.report);
    assert_eq!(pruned.graph.param("outer.weight")?.value().shape(), [13, 3, 3, 22]);
    Ok(())
}

/// The cuts of a criterion that save at least two fifths of the multiply-accumulates each.
fn by_price(graph: &Graph) -> Result<()> {
    let config = PruneConfig {
        criterion: Some("l1".parse()?),
        fraction: Some(0.5),
        context: Context::Local,
        ..PruneConfig::default()
    };
    // Every layer that makes a channel has a score for it; a coupling makes one of them, by which channels are ranked.
    for group in config.scores(graph, None)? {
        let apart: Vec<&str> = group.apart.iter().map(|layer| layer.layer.as_str()).collect();
        println!("{} channels, scored by {}", group.joined.len(), apart.join(" and "));
    }
    let plan = config.plan(graph, None)?;
    let mut proposals = Proposals::new(graph, &plan, config.constants)?;
    while let Some(proposal) = proposals.next() {
        let proposal = proposal?;
        let [before, after] = proposal.costs;
        let saved = 1.0 - after.macs as f64 / before.macs as f64;
        println!("{}: {:.1} % of the multiply-accumulates", proposal.cut.layers.join(" and "), 100.0 * saved);
        if saved >= 0.4 {
            proposals.accept(proposal);
        }
    }
    let accepted = proposals.into_plan();
    assert!((1..plan.groups.len()).contains(&accepted.groups.len()));
    let pruned = prune(graph, &accepted, config.constants)?.graph;
    println!("{} → {} parameters", graph.param_count(), pruned.param_count());
    Ok(())
}

fn main() -> Result<()> {
    let graph = network()?;
    by_index(&graph)?;
    by_price(&graph)
}

#[test]
fn it_runs() {
    main().unwrap();
}
