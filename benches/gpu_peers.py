#!/usr/bin/env python3
"""Times the cases of a lopper self-test in PyTorch (cuDNN, cuBLAS) on the same GPU, and prints both times with their ratio.

    lopper selftest --device cuda --out selftest.md
    python3 benches/gpu_peers.py selftest.md [--only WORDS] [--out ratios.md]
    python3 benches/gpu_peers.py selftest.md --list

Needs torch, and torchvision for whole networks; `--list` needs neither and prints the PyTorch counterpart of each case. Uses
channels-last layout, random data, cuDNN's search for its fastest algorithm, and the median of several runs by the GPU's clock.
`--device cpu` tests the script on a machine without a GPU; its times are meaningless.
"""

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path

# Name of each precision's type in torch, which is imported only when used.
TYPES = {"f32": "float32", "tf32": "float32", "bf16": "bfloat16", "f16": "float16"}
LAYER = re.compile(r"(\d+)×(\d+)×(\d+), (\d+) of (\d+)×(\d+)/(\d+)")
STEP = re.compile(r"(\w+), training step, (\d+) images of (\d+) px")
IMAGE = re.compile(r"(\w+), one image of (\d+) px")
LAYERS_BATCH = 64
SECONDS = 0.1


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="report written by `lopper selftest`")
    parser.add_argument("--only", default="", help="run only cases that contain all of these words")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--list", action="store_true", help="print the counterpart of each case and exit; needs no PyTorch")
    return parser.parse_args()


def timings(report):
    """Returns the timings in a report: (what, how, milliseconds)."""
    text = report.read_text(encoding="utf-8")
    found = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    if not found:
        sys.exit(f"{report}: found no JSON; is it a report of `lopper selftest`?")
    lines = (line for part in json.loads(found[-1])["parts"] for line in part["lines"])
    return [(line["what"], line["how"], line["timing"]["median_ms"]) for line in lines if line.get("timing")]


def median_ms(device, work):
    """Returns the median time of `work`, after three runs that choose algorithms and fill caches."""
    import torch

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
    import torch

    a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    return lambda: a @ b.T


def convolution(device, shape, pass_, dtype):
    import torch
    import torch.nn.functional as F

    h, w, c, o, kh, kw, stride = shape
    padding = [kh // 2, kw // 2]
    last = {"device": device, "dtype": getattr(torch, dtype)}
    x = torch.randn(LAYERS_BATCH, c, h, w, **last).to(memory_format=torch.channels_last)
    weight = torch.randn(o, c, kh, kw, **last).to(memory_format=torch.channels_last)
    if pass_ == "forward":
        return lambda: F.conv2d(x, weight, None, stride, padding)
    dy = torch.randn_like(F.conv2d(x, weight, None, stride, padding))
    wanted = [pass_ == "input gradient", pass_ == "weight gradient", False]
    back = torch.ops.aten.convolution_backward
    return lambda: back(dy, x, weight, None, [stride] * 2, padding, [1, 1], False, [0, 0], 1, wanted)


def network(device, name):
    """Returns torchvision's network of this name, or None if there is none."""
    import torch
    import torchvision

    if not hasattr(torchvision.models, name):
        return None
    return getattr(torchvision.models, name)(num_classes=10).to(device, memory_format=torch.channels_last)


def image(device, name, size):
    import torch

    net = network(device, name)
    if net is None:
        return None
    net.eval()
    x = torch.randn(1, 3, size, size, device=device).to(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            net(x)

    return run


def step(device, name, batch, size, precision):
    import torch
    import torch.nn.functional as F

    net = network(device, name)
    if net is None:
        return None
    net.train()
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
    """Returns how to compute the same in PyTorch, as a function and its arguments, and the target ratio; None if PyTorch
    has no counterpart."""
    *kind, precision = how.split(", ")
    if precision not in TYPES:
        return None
    dtype = TYPES[precision]
    aim = {"simt": 0.95, "mma": 0.65, "wgmma": 0.95}.get(kind[-1] if kind else "")
    if match := re.fullmatch(r"gemm (\d+)³", what):
        return (product, int(match[1]), dtype), aim
    if match := STEP.fullmatch(what):
        return (step, match[1], int(match[2]), int(match[3]), precision), 0.8
    if match := IMAGE.fullmatch(what):
        return (image, match[1], int(match[2])), 3.0
    pass_ = {"dense": "forward", "pruned": None}.get(kind[0], kind[0]) if kind else None
    if (match := LAYER.search(what)) and pass_ in ("forward", "input gradient", "weight gradient"):
        return (convolution, tuple(map(int, match.groups())), pass_, dtype), aim
    return None


def against_pruned(timed):
    """Yields rows that compare masked and compacted convolutions with the pruned ones of the same report."""
    times = {(what, how): ms for what, how, ms in timed}
    for (what, how), ms in times.items():
        kind, _, grade = how.partition(", ")
        pruned = times.get((what, f"pruned, {grade}"))
        if kind in ("masked", "compacted") and pruned:
            aim = {"masked": 0.9, "compacted": 0.95}[kind]
            yield f"| {what} | {how} | {ms:.4f} | {pruned:.4f} | {pruned / ms:.2f} | {aim} |"


def chosen(options):
    """Yields the timings that match --only and have a PyTorch counterpart: (what, how, milliseconds, peer, aim)."""
    for what, how, ms in timings(options.report):
        found = peer(what, how)
        if found and all(word in f"{what} {how}" for word in options.only.split()):
            yield what, how, ms, *found


def print_list(options):
    for what, how, _, (make, *arguments), _ in chosen(options):
        print(f"{what}, {how}: {make.__name__}{tuple(arguments)}")


def against_pytorch(options):
    """Yields rows that compare each case with PyTorch, and prints them as they are measured."""
    import torch

    known = {}
    for what, how, ms, (make, *arguments), aim in chosen(options):
        precision = how.split(", ")[-1]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        # The grades of one product share its peer.
        key = (make, *arguments, precision)
        if key not in known:
            work = make(options.device, *arguments)
            known[key] = median_ms(options.device, work) if work else None
        if known[key] is None:
            continue
        row = f"| {what} | {how} | {ms:.4f} | {known[key]:.4f} | {known[key] / ms:.2f} | {aim or '–'} |"
        print(row, flush=True)
        yield row


def main():
    options = parse()
    if options.list:
        return print_list(options)
    import torch

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    gpu = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU: these times are meaningless"
    table = [
        f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, {gpu}",
        "",
        "| what | how | lopper ms | PyTorch ms | PyTorch / lopper | target |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    print("\n".join(table), flush=True)
    table += against_pytorch(options)
    sparse = ["", "| what | how | ms | pruned ms | pruned / this | target |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    sparse += against_pruned(timings(options.report))
    print("\n".join(sparse))
    if options.out:
        options.out.write_text("\n".join(table + sparse) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
