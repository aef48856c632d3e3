#!/usr/bin/env python3
"""Compares the normalizations of scores in a global ranking: accuracy after pruning, by network, criterion and fraction.

    cargo build --release
    python3 benches/normalizations.py [--lopper target/release/lopper] [--images 200] [--epochs 3] [--seeds 1,2]

Trains each network briefly on built-in images, prunes it with each normalization, fine-tunes it for an epoch, and prints
top-1 in percent, the smallest share of channels that a layer keeps, and the mean rank of each normalization. With a
fraction of the channels (0.5), networks of other cost are compared; with a share of the multiply-accumulates (0.5x), networks
of the same.
"""

import argparse
import itertools
import json
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path

from record import said_by

NORMALIZATIONS = ["none", "mean", "sum", "max", "l2", "standardized", "min_max", "median", "lamp", "isomorphic", "local"]


def run(lopper, *arguments):
    return json.loads(said_by([lopper, *arguments, "--json", "--threads", "2"]))


def way(name):
    """The options of a normalization, or of another way to make layers comparable."""
    match name:
        case "local":
            return ["--context", "local"]
        case "isomorphic":
            return ["--normalization", "mean", "--isomorphic"]
        case _:
            return ["--normalization", name]


def least_share(plan):
    groups = tomllib.loads(plan.read_text())["groups"]
    return min(len(group["keep"]) / group["units"] for group in groups)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lopper", default="target/release/lopper")
    parser.add_argument("--images", type=int, default=200, help="images per class")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--networks", default="resnet8,vgg8_bn")
    parser.add_argument("--criteria", default="large_final,taylor")
    parser.add_argument("--fractions", default="0.5,0.5x,0.25x", help="amounts: 0.5 of channels, 0.5x of MACs")
    parser.add_argument("--seeds", default="1,2")
    options = parser.parse_args()
    images = ["--data", "fashion-mnist", "--limit", options.images]
    ranks = defaultdict(list)
    lists = [text.split(",") for text in (options.networks, options.criteria, options.fractions)]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for network, seed in itertools.product(lists[0], options.seeds.split(",")):
            base = folder / f"{network}-{seed}.safetensors"
            trained = run(options.lopper, "train", "--arch", network, *images, "--epochs", options.epochs,
                          "--learning-rate", "2e-3", "--seed", seed, "--out", base)
            print(f"{network}, seed {seed}: {100 * trained['stages'][-1]['top1']:.1f} %")
            for criterion, fraction in itertools.product(*lists[1:]):
                found = {}
                amount = ["--target-macs", fraction, "--max-fraction", 1] if "x" in fraction else ["--fraction", fraction]
                for name in NORMALIZATIONS:
                    if "x" in fraction and name in ("isomorphic", "local"):
                        continue
                    pruned, plan = folder / "pruned.safetensors", folder / "plan.toml"
                    choice = ["--criterion", criterion, *amount, *way(name), "--save-plan", plan]
                    rows = run(options.lopper, "prune", base, *choice, *images, "--seed", seed,
                               "--epochs", 1, "--out", pruned, "--force")
                    row = rows["stages"][-1]
                    found[name] = (100 * row["top1"], 100 * least_share(plan), row["macs"] / 1e6)
                best_first = sorted(found, key=lambda name: -found[name][0])
                for rank, name in enumerate(best_first, 1):
                    ranks[name].append(rank)
                for name, (top1, least, macs) in found.items():
                    print(f"  {criterion:12} {fraction:>5}  {name:12}  {top1:5.1f} %  least {least:5.1f} %  {macs:7.2f} MMACs",
                          flush=True)
    print("\nmean rank by top-1")
    for name in sorted(ranks, key=lambda name: sum(ranks[name])):
        print(f"  {name:12}  {sum(ranks[name]) / len(ranks[name]):.2f}")


if __name__ == "__main__":
    main()
