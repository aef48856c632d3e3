#!/usr/bin/env python3
"""Which of torchvision's classification networks go through import, pruning, folding and a plan, beside Torch-Pruning.

    VENV/bin/python benches/torchvision_networks.py [--networks resnet18,vit_b_16] [--size 96] [--most 100000000] [--json FILE]

VENV has PyTorch, torchvision, torch-pruning, onnx and onnxruntime. Each network gets random weights and statistics. lopper reads it
by its tensors' names if it has the architecture, and as an ONNX file of PyTorch's exporter otherwise; removes 30 % of the channels of
each group by `l1`; folds its batch norms; and computes with a plan. A step passes if ONNX Runtime gives the same logits for what
lopper wrote: after import, PyTorch's; after folding, those of the pruned network. Torch-Pruning removes 30 % of the same network's
channels by magnitude and passes if PyTorch computes logits afterwards. Networks with more than --most parameters are left out. The
table is Markdown; it is part of docs/networks.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import safetensors.torch
import torch
import torch_pruning
import torchvision.models as models

ROOT = Path(__file__).resolve().parent.parent
FRACTION = 0.3
# Of the largest logit.
TOLERANCE = 1e-4
# The least size of their images, or the only one.
SIZES = {"vit_h_14": 224, "maxvit_t": 224, "inception_v3": 128} | {name: 224 for name in models.list_models(include="vit_*")}


class Refused(Exception):
    """A step that did not pass, with the reason."""


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lopper", default=ROOT / "target/release/lopper", type=Path, help="the program")
    parser.add_argument("--networks", help="only these, separated by commas")
    parser.add_argument("--size", default=96, type=int, help="side of the images in pixels, unless a network takes others")
    parser.add_argument("--most", default=100_000_000, type=int, help="parameters of the largest network that is tried")
    parser.add_argument("--seconds", default=300, type=float, help="limit of each command")
    parser.add_argument("--json", type=Path, help="also write the rows to this file, and read rows that are done from it")
    return parser.parse_args()


def count(name):
    weights = list(models.get_model_weights(name))
    return weights[0].meta["num_params"]


def build(name):
    """The network with random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    options = {"init_weights": False, "aux_logits": False} if name in ["googlenet", "inception_v3"] else {}
    model = models.get_model(name, **options).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
        for path, parameter in model.named_parameters():
            if path.endswith("layer_scale"):
                parameter.uniform_(0.1, 0.5)
    return model


class Trial:
    """The commands of one network in a folder."""

    def __init__(self, options, name, folder):
        self.options, self.name, self.folder = options, name, Path(folder)
        self.size = SIZES.get(name, options.size)
        self.images = torch.randn(2, 3, self.size, self.size, generator=torch.Generator().manual_seed(1))

    def lopper(self, *arguments):
        command = [str(self.options.lopper), *map(str, arguments)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self.options.seconds, check=False)
        except subprocess.TimeoutExpired:
            raise Refused(f"`{arguments[0]}` takes more than {self.options.seconds:.0f} s") from None
        if done.returncode != 0:
            raise Refused(reason(done.stderr.replace(f"{self.folder}/", "")))
        return done.stdout

    def logits(self, model):
        """The logits of a model file, by ONNX Runtime."""
        onnx = self.folder / "written.onnx"
        self.lopper("export", model, "--out", onnx, "--force")
        session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: self.images.numpy()})[0]

    def read(self, model, known):
        """The model file, and how the network was read."""
        out = self.folder / "read.safetensors"
        if self.name in known:
            weights = self.folder / "weights.safetensors"
            safetensors.torch.save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, weights)
            self.lopper("import", weights, "--arch", self.name, "--size", self.size, "--out", out, "--force")
            return out, "names"
        onnx = self.folder / "network.onnx"
        try:
            torch.onnx.export(model, (self.images,), onnx, dynamo=False, opset_version=17)
        except Exception as error:  # noqa: BLE001: PyTorch's exporter raises many kinds
            raise Refused(f"PyTorch's exporter: {reason(str(error))}") from None
        self.lopper("import", onnx, "--out", out, "--force")
        return out, "ONNX"

    def run(self, known):
        """The row of the table."""
        model = build(self.name)
        row = {"network": self.name, "parameters": sum(p.numel() for p in model.parameters())}
        try:
            self.steps(model, known, row)
        except Refused as why:
            row["reason"] = str(why)
        row["torch_pruning"] = prunes(model, self.images)
        return row

    def steps(self, model, known, row):
        """Runs one step after the other, and notes in `row` what passed."""
        with torch.no_grad():
            expected = model(self.images).numpy()
        read, row["by"] = self.read(model, known)
        require_equal("imported", self.logits(read), expected)
        row["import"] = True
        pruned, folded = self.folder / "pruned.safetensors", self.folder / "folded.safetensors"
        self.lopper("prune", read, "--criterion", "l1", "--fraction", FRACTION, "--context", "local", "--out", pruned, "--force")
        left = json.loads(self.lopper("summary", pruned, "--json"))["params"]
        if left >= row["parameters"]:
            raise Refused("no channel can be removed")
        row["left"], row["prune"] = left, True
        self.lopper("fold", pruned, "--out", folded, "--force")
        require_equal("folded", self.logits(folded), self.logits(pruned))
        row["fold"] = True
        self.lopper("bench", folded, "--seconds", "0.05")
        row["run"] = True


def reason(text):
    """The last line of an error, shortened."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    line = lines[-1] if lines else "no message"
    return line if len(line) <= 200 else line[:199] + "…"


def require_equal(what, found, expected):
    largest = max(np.abs(expected).max(), 1e-3)
    difference = np.abs(found - expected).max() / largest
    if not difference <= TOLERANCE:
        raise Refused(f"{what}: logits differ by {difference:.1e} of the largest")


def prunes(model, images):
    """Why Torch-Pruning does not prune `model`, which it changes; None if it does."""
    last = [module for module in model.modules() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))][-1:]
    before = sum(p.numel() for p in model.parameters())
    try:
        importance = torch_pruning.importance.MagnitudeImportance(p=1)
        pruner = torch_pruning.pruner.MagnitudePruner(
            model, images, importance=importance, pruning_ratio=FRACTION, ignored_layers=last
        )
        pruner.step()
        with torch.no_grad():
            model(images)
    except Exception as error:  # noqa: BLE001: whatever it raises is the result
        return reason(f"{type(error).__name__}: {error}")
    return None if sum(p.numel() for p in model.parameters()) < before else "no channel is removed"


def table(rows):
    """The rows as Markdown, with the totals."""
    marks = {True: "yes", None: "–"}
    lines = [
        "| network | parameters | read by | import | prune | fold | run | parameters left | Torch-Pruning | remark |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        steps = [marks[row.get(step)] for step in ["import", "prune", "fold", "run"]]
        left = f"{row['left']:,}" if "left" in row else ""
        theirs = row.get("torch_pruning", "not tried")
        remark = row.get("reason", "") + ("" if theirs in [None, "not tried"] else f" Torch-Pruning: {theirs}")
        cells = [
            f"`{row['network']}`", f"{row['parameters']:,}", row.get("by", ""), *steps, left,
            "yes" if theirs is None else ("–" if theirs == "not tried" else "no"), remark.strip().replace("|", "\\|"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    tried = [row for row in rows if "torch_pruning" in row]
    passed = sum(bool(row.get("run")) for row in tried)
    theirs = sum(row["torch_pruning"] is None for row in tried)
    lines += ["", f"{passed} of {len(tried)} pass every step, and Torch-Pruning prunes {theirs}."]
    return "\n".join(lines)


def main():
    warnings.filterwarnings("ignore")
    options = parse()
    names = options.networks.split(",") if options.networks else models.list_models(module=models)
    done = {}
    if options.json and options.json.exists():
        done = {row["network"]: row for row in json.loads(options.json.read_text())}
    known = json.loads(subprocess.run([options.lopper, "summary", "help", "--json"], capture_output=True, check=True).stdout)
    rows = []
    for name in names:
        if name in done:
            row = done[name]
        elif count(name) > options.most:
            row = {"network": name, "parameters": count(name), "reason": "left out: too large"}
        else:
            with tempfile.TemporaryDirectory() as folder:
                row = Trial(options, name, folder).run(known)
        print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
        if options.json:
            done[name] = row
            options.json.write_text(json.dumps(list(done.values()), indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
