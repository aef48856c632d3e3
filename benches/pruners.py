#!/usr/bin/env python3
"""Compares which channels lopper and Torch-Pruning remove: accuracy at equal measured latency.

    VENV/bin/python benches/pruners.py [--data DIR] [--seeds 3] [--latency 0.5] [--out docs/benchmarks/pruners.csv]

VENV has PyTorch and torch-pruning (CONTRIBUTING.md); without them, only lopper's own criteria are compared. For each seed, a
ResNet-18 is trained once. Each method then removes so many channels that the plan's latency is the given part of the dense
network's: lopper by --target-latency, Torch-Pruning by its ratio, found by bisection on that latency. Torch-Pruning works on the
same weights in PyTorch; the channels that it chooses become a pruning plan, which lopper replays. So data, budget, fine-tuning and
the engine that is timed are the same, and only the choice differs. Channels chosen at random are the control.

Latencies are medians over rounds in which all networks of a seed take turns (`lopper bench --beside`).
"""

import argparse
import json
import shlex
import sys
import tomllib
from pathlib import Path

from record import ROOT, provenance, said_by, versions, write

PACKAGES = ["torch", "torch-pruning"]
COLUMNS = ["seed", "by", "method", "top1", "top1_before_tuning", "images", "params", "macs", "latency_ms", "latency_ratio"]

# By lopper: the options of `lopper prune`.
OURS = {
    "large_final": ["--criterion", "large_final"],
    "lamp": ["--criterion", "lamp"],
    "geometric_median": ["--criterion", "geometric_median"],
    "batch_norm_gamma": ["--criterion", "batch_norm_gamma"],
    "taylor": ["--criterion", "taylor"],
    "random": ["--criterion", "random"],
}
# By Torch-Pruning: the class of the importance and its arguments, as in its README; all rank globally.
THEIRS = {
    "L2 magnitude": ("MagnitudeImportance", {"p": 2}),
    "L1 magnitude": ("MagnitudeImportance", {"p": 1}),
    "LAMP": ("LAMPImportance", {}),
    "geometric median": ("FPGMImportance", {}),
    "batch-norm scale": ("BNScaleImportance", {}),
    "random": ("RandomImportance", {}),
}

# How near a latency has to be to what was asked for, as a share.
NEAR = 0.02


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lopper", default=ROOT / "target/release/lopper", type=Path, help="the program")
    parser.add_argument("--data", default="fashion-mnist", help="images [default: the built-in ones]")
    parser.add_argument("--size", default=32, type=int, help="side of the images in pixels")
    parser.add_argument("--width", default=0.5, type=float, help="width of the ResNet-18")
    parser.add_argument("--limit", type=int, help="images per class [default: all]")
    parser.add_argument("--epochs", default=8, type=int, help="of the first training")
    parser.add_argument("--tune", default=4, type=int, help="epochs after pruning")
    parser.add_argument("--latency", default=0.5, type=float, help="part of the dense network's latency to keep")
    parser.add_argument("--batch", default=16, type=int, help="images in a batch of the plans that are timed")
    parser.add_argument("--threads", default=1, type=int, help="threads of the plans that are timed")
    parser.add_argument("--seeds", default=3, type=int, help="number of repetitions")
    parser.add_argument("--work", default=ROOT / "target/pruners", type=Path, help="folder for networks; finished ones are kept")
    parser.add_argument("--out", default=ROOT / "docs/benchmarks/pruners.csv", type=Path, help="the table")
    options = parser.parse_args()
    # Commands run at the root of the project.
    options.work, options.out = options.work.resolve(), options.out.resolve()
    return options


class Lopper:
    """The commands of lopper, with the options that all of them share."""

    def __init__(self, options):
        self.options = options

    def run(self, *words):
        """Returns what the command prints on standard output."""
        return said_by([self.options.lopper, *words])

    def data(self):
        limit = ["--limit", self.options.limit] if self.options.limit else []
        return ["--data", self.options.data, "--size", self.options.size, *limit]

    def train(self, out, epochs, seed, *start):
        if not out.exists():
            rate = 2e-3 if "--arch" in start else 5e-4
            common = ["--epochs", epochs, "--seed", seed, "--learning-rate", rate, "--resume", "--out", out]
            self.run("train", *start, *self.data(), *common)
        return out

    def accuracy(self, model):
        return json.loads(self.run("eval", model, *self.data(), "--json"))

    def latencies(self, base, others):
        """Returns the milliseconds of `others`, and their ratios to `base`, timed in turn."""
        timing = ["--batch", self.options.batch, "--threads", self.options.threads, "--seconds", 0.5, "--json"]
        found = json.loads(self.run("bench", base, "--beside", *others, *timing))["networks"][1:]
        return [(network["median_ms"], network["time_ratio"]) for network in found]

    def size(self, model):
        summary = json.loads(self.run("summary", model, "--json"))
        return summary["params"], summary["macs"]


def own_method(lopper, base, options):
    """Returns a function that prunes to the latency by a criterion of lopper."""

    def cut(out):
        images = lopper.data() if "taylor" in options else []
        target = ["--target-latency", f"{lopper.options.latency}x", "--target-batch", lopper.options.batch]
        target += ["--threads", lopper.options.threads]
        lopper.run("prune", base, *options, *target, *images, "--force", "--out", out)

    return cut


def torch_method(lopper, base, groups, kind):
    """Returns a function that prunes to the latency by an importance of Torch-Pruning."""
    import torch
    import torch_pruning

    weights = base.with_suffix(".pytorch.safetensors")
    lopper.run("export", base, "--force", "--out", weights)
    importance, arguments = kind

    def prune(part, out):
        torch.manual_seed(0)
        net = resnet18(weights)
        example = torch.zeros(1, 3, lopper.options.size, lopper.options.size)
        pruner = torch_pruning.pruner.BasePruner(
            net, example, getattr(torch_pruning.importance, importance)(**arguments), global_pruning=True,
            pruning_ratio=part, ignored_layers=[net.fc],
        )
        pruner.step()
        plan = out.with_suffix(".toml")
        plan.write_text(kept_channels(groups, pruner.DG.pruning_history()))
        lopper.run("prune", base, "--plan", plan, "--force", "--out", out)

    return lambda out: bisect(lopper, prune, base, out)


def resnet18(weights):
    """Returns the network of a file with torchvision's names, in PyTorch."""
    import torch
    from safetensors.torch import load_file
    from torch import nn

    tensors = load_file(weights)

    def conv(name, stride=1):
        outputs, inputs, kernel, _ = tensors[f"{name}.weight"].shape
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    def norm(name):
        return nn.BatchNorm2d(len(tensors[f"{name}.weight"]))

    class Block(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.downsample = None
            stride = 1
            if f"{name}.downsample.0.weight" in tensors:
                stride = 2
                self.downsample = nn.Sequential(conv(f"{name}.downsample.0", 2), norm(f"{name}.downsample.1"))
            self.conv1, self.bn1 = conv(f"{name}.conv1", stride), norm(f"{name}.bn1")
            self.conv2, self.bn2 = conv(f"{name}.conv2"), norm(f"{name}.bn2")

        def forward(self, x):
            shortcut = x if self.downsample is None else self.downsample(x)
            x = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(x + shortcut)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = conv("conv1", 2), norm("bn1")
            for stage in range(1, 5):
                setattr(self, f"layer{stage}", nn.Sequential(*(Block(f"layer{stage}.{block}") for block in range(2))))
            self.fc = nn.Linear(*reversed(tensors["fc.weight"].shape))

        def forward(self, x):
            x = torch.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            for stage in range(1, 5):
                x = getattr(self, f"layer{stage}")(x)
            return self.fc(x.mean((2, 3)))

    net = Network()
    net.load_state_dict(tensors, strict=True)
    return net.eval()


def kept_channels(groups, history):
    """Returns a history of Torch-Pruning as a pruning plan. `groups` are those of an uncut plan."""
    removed = {}
    for root, outputs, channels in history:
        assert outputs, f"{root}: a cut of inputs"
        group = next(i for i, group in enumerate(groups) if root in group["layers"])
        assert group not in removed, f"{root}: its group is cut twice"
        removed[group] = set(channels)
    text = []
    for i, group in enumerate(groups):
        keep = [channel for channel in range(group["units"]) if channel not in removed.get(i, ())]
        text.append(f"[[groups]]\nlayers = {json.dumps(group['layers'])}\nunits = {group['units']}\nkeep = {keep}\n")
    return "\n".join(text)


def bisect(lopper, prune, base, out):
    """Finds the part of the channels to remove for the latency that is asked for; lopper's own search ends as near to it."""
    low, high, best = 0.0, 1.0, (float("inf"), None)
    for _ in range(9):
        part = (low + high) / 2
        prune(part, out)
        [(_, ratio)] = lopper.latencies(base, [out])
        off = abs(ratio / lopper.options.latency - 1)
        best = min(best, (off, part))
        if off <= NEAR:
            return
        if ratio > lopper.options.latency:
            low = part
        else:
            high = part
    prune(best[1], out)


def compare(lopper, seed):
    """Yields the rows of one seed."""
    options = lopper.options
    work = options.work / f"seed{seed}"
    work.mkdir(parents=True, exist_ok=True)
    start = ["--arch", "resnet18", "--width", options.width]
    base = lopper.train(work / "base.safetensors", options.epochs, seed, *start)
    uncut = work / "uncut.toml"
    lopper.run("prune", base, "--criterion", "l1", "--fraction", 0, "--save-plan", uncut, "--force", "--out", work / "uncut.safetensors")
    groups = tomllib.loads(uncut.read_text())["groups"]

    methods = {("lopper", name): own_method(lopper, base, [*words, "--seed", seed]) for name, words in OURS.items()}
    try:
        import torch_pruning  # noqa: F401

        methods |= {("Torch-Pruning", name): torch_method(lopper, base, groups, kind) for name, kind in THEIRS.items()}
    except ImportError:
        print("torch-pruning is not installed: only lopper's criteria are compared", file=sys.stderr)

    found = {("lopper", "dense"): (base, None)}
    for (by, name), cut_down in methods.items():
        stem = f"{by}-{name}".replace(" ", "-").lower()
        cut, tuned = work / f"{stem}.safetensors", work / f"{stem}-tuned.safetensors"
        if not tuned.exists():
            cut_down(cut)
        found[by, name] = (lopper.train(tuned, options.tune, seed, "--model", cut), lopper.accuracy(cut)["top1"])
        print(f"seed {seed}: {by}, {name}", file=sys.stderr)
    yield from rows(lopper, base, seed, found)


def rows(lopper, base, seed, found):
    """Times the networks in turn and scores them."""
    times = lopper.latencies(base, [model for model, _ in found.values()])
    for ((by, name), (model, before)), (ms, ratio) in zip(found.items(), times):
        score, (params, macs) = lopper.accuracy(model), lopper.size(model)
        yield [seed, by, name, score["top1"], before, score["images"], params, macs, f"{ms:.4f}", f"{ratio:.4f}"]


def main():
    options = parse()
    lopper = Lopper(options)
    given = [f"--{name}={value}" for name, value in chosen(options).items()]
    command = shlex.join(["VENV/bin/python", "benches/pruners.py", *given])
    head, table = provenance(options.lopper, versions([sys.executable], PACKAGES), command), []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(1, options.seeds + 1):
        table += compare(lopper, seed)
        write(options.out, head, COLUMNS, table)
    print(f"wrote {options.out}")


def chosen(options):
    """Returns the options that say what is measured."""
    names = ["size", "width", "limit", "epochs", "tune", "latency", "batch", "threads", "seeds"]
    return {name: value for name in names if (value := getattr(options, name)) is not None}


if __name__ == "__main__":
    main()
