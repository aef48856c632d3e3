#!/usr/bin/env python3
"""Times in PyTorch (cuDNN, cuBLAS) what a self-test of lopper has timed, on the same GPU, and prints both with their ratio.

    lopper selftest --device cuda --out selftest.md
    python3 benches/gpu_peers.py selftest.md [--only WORDS] [--out ratios.md]

Needs torch, and torchvision for whole networks. Channels-last, random data, cuDNN's search for its fastest algorithm, the median
of several runs by the GPU's own clock. `--device cpu` tries the script where there is no GPU; its times mean nothing.
"""

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

TYPES = {"f32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
LAYER = re.compile(r"(\d+)×(\d+)×(\d+), (\d+) of (\d+)×(\d+)/(\d+)")
STEP = re.compile(r"(\w+), training step, (\d+) images of (\d+) px")
IMAGE = re.compile(r"(\w+), one image of (\d+) px")
LAYERS_BATCH = 64
SECONDS = 0.1


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="what `lopper selftest` wrote")
    parser.add_argument("--only", default="", help="cases that hold these words")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    return parser.parse_args()


def timings(report):
    """The timings in a report: (what, how, milliseconds)."""
    text = report.read_text(encoding="utf-8")
    found = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    if not found:
        sys.exit(f"{report}: no JSON at its end: is it a report of `lopper selftest`?")
    lines = (line for part in json.loads(found[-1])["parts"] for line in part["lines"])
    return [(line["what"], line["how"], line["timing"]["median_ms"]) for line in lines if line.get("timing")]


def median_ms(device, work):
    """The median time of `work`, after three runs that choose algorithms and fill caches."""
    for _ in range(3):
        work()
    samples, start = [], time.perf_counter()
    if device == "cpu":
        while len(samples) < 2:
            begun = time.perf_counter()
            work()
            samples.append(1e3 * (time.perf_counter() - begun))
        return statistics.median(samples)
    torch.cuda.synchronize()
    while len(samples) < 10 or time.perf_counter() - start < SECONDS:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        samples.append(begin.elapsed_time(end))
    return statistics.median(samples)


def product(device, size, dtype):
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return lambda: a @ b.T


def convolution(device, shape, pass_, dtype):
    h, w, c, o, kh, kw, stride = shape
    padding = [kh // 2, kw // 2]
    last = {"device": device, "dtype": dtype}
    x = torch.randn(LAYERS_BATCH, c, h, w, **last).to(memory_format=torch.channels_last)
    weight = torch.randn(o, c, kh, kw, **last).to(memory_format=torch.channels_last)
    if pass_ == "forward":
        return lambda: F.conv2d(x, weight, None, stride, padding)
    dy = torch.randn_like(F.conv2d(x, weight, None, stride, padding))
    wanted = [pass_ == "input gradient", pass_ == "weight gradient", False]
    back = torch.ops.aten.convolution_backward
    return lambda: back(dy, x, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0], 1, wanted)


def is_known(name):
    """Whether torchvision, needed for whole networks alone, has a network of this name."""
    import torchvision

    return hasattr(torchvision.models, name)


def network(device, name):
    import torchvision

    return getattr(torchvision.models, name)(num_classes=10).to(device, memory_format=torch.channels_last)


def image(device, name, size):
    net, x = network(device, name).eval(), torch.randn(1, 3, size, size, device=device)
    x = x.to(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            net(x)

    return run


def step(device, name, batch, size, precision):
    net = network(device, name).train()
    adam = torch.optim.Adam(net.parameters(), 1e-6, fused=device == "cuda")
    x = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    y = torch.arange(batch, device=device) % 10

    def run():
        adam.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = F.cross_entropy(net(x), y)
        loss.backward()
        adam.step()

    return run


def peer(what, how):
    """How to make the same in PyTorch, as a function and its arguments, and the ratio that is aimed at; None where PyTorch has
    no such thing."""
    *kind, precision = how.split(", ")
    if precision not in TYPES:
        return None
    dtype = TYPES[precision]
    aim = {"simt": 0.95, "mma": 0.65, "wgmma": 0.95}.get(kind[-1] if kind else "")
    if match := re.fullmatch(r"gemm (\d+)³", what):
        return (product, int(match[1]), dtype), aim
    if (match := STEP.fullmatch(what)) and is_known(match[1]):
        return (step, match[1], int(match[2]), int(match[3]), precision), 0.8
    if (match := IMAGE.fullmatch(what)) and is_known(match[1]):
        return (image, match[1], int(match[2])), 3.0
    pass_ = {"dense": "forward", "pruned": None}.get(kind[0], kind[0]) if kind else None
    if (match := LAYER.search(what)) and pass_ in ("forward", "input gradient", "weight gradient"):
        return (convolution, tuple(map(int, match.groups())), pass_, dtype), aim
    return None


def against_pruned(timed):
    """Rows for masked and compacted convolutions beside the pruned ones of the same report."""
    times = {(what, how): ms for what, how, ms in timed}
    for (what, how), ms in times.items():
        kind, _, grade = how.partition(", ")
        pruned = times.get((what, f"pruned, {grade}"))
        if kind in ("masked", "compacted") and pruned:
            aim = {"masked": 0.9, "compacted": 0.95}[kind]
            yield f"| {what} | {how} | {ms:.4f} | {pruned:.4f} | {pruned / ms:.2f} | {aim} |"


def main():
    options = parse()
    timed = timings(options.report)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU: these times mean nothing"
    table = [
        f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {gpu}",
        "",
        "| what | how | lopper ms | PyTorch ms | speed of PyTorch's | aim |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    print("\n".join(table), flush=True)
    known = {}
    for what, how, ms in timed:
        if not all(word in f"{what} {how}" for word in options.only.split()):
            continue
        found = peer(what, how)
        if found is None:
            continue
        (make, *arguments), aim = found
        precision = how.split(", ")[-1]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        # The grades of one product share its peer.
        key = (make, *arguments, precision)
        if key not in known:
            known[key] = median_ms(options.device, make(options.device, *arguments))
        ratio = known[key] / ms
        row = f"| {what} | {how} | {ms:.4f} | {known[key]:.4f} | {ratio:.2f} | {aim or '–'} |"
        table.append(row)
        print(row, flush=True)
    sparse = ["", "| what | how | ms | pruned ms | speed of pruned's | aim |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    sparse += against_pruned(timed)
    print("\n".join(sparse))
    if options.out:
        options.out.write_text("\n".join(table + sparse) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
