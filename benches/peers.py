#!/usr/bin/env python3
"""Times lopper and other engines in turn, and writes docs/benchmarks/peers.csv.

    python3 benches/peers.py --python VENV/bin/python [--deepsparse VENV/bin/python] [--cases WORDS] [--rounds 5]

CONTRIBUTING.md explains how to create the environments. In each round of a case, every engine runs once, for --seconds:
lopper as a command, every other engine in its own process that lasts for all rounds (peer_engine.py). Ratios are formed within a
round, so the machine's drift cancels. This script itself needs only Python; without --python it times only lopper.
"""

import argparse
import csv
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from record import ROOT, provenance, said_by, versions, write

WORKER = Path(__file__).resolve().with_name("peer_engine.py")
COLUMNS = ["kind", "what", "size", "batch", "threads", "engine", "round", "ms"]
NETWORKS = [
    ("resnet18", 128, 1),
    ("resnet18", 128, 16),
    ("resnet34", 128, 1),
    ("resnet34", 128, 16),
    ("resnet50", 128, 1),
    ("resnet50", 128, 16),
    ("vgg16_bn", 128, 1),
    ("vgg16_bn+bf16", 128, 1),  # lopper stores its linear weights as bf16; the others still compute in f32
    ("vgg16_bn", 128, 16),
    ("vgg16_bn", 224, 1),
]
# Single weights are zero everywhere but in the first and the last layer, by name.
ENDS = {"resnet18": "conv1,fc", "vgg16_bn": "features.0,classifier.6", "mobilenet_v2": "features.0.0,classifier.1"}
SPARSE = [("resnet18", 128), ("mobilenet_v2", 128), ("vgg16_bn", 224)]
ZEROS = [70, 80, 90, 95]
# Networks as ONNX files that lopper writes and every engine reads.
FILES = ["resnet18", "mobilenet_v2", "efficientnet_lite0"]
# In these cases `lopper` is what lopper reads from the file, and this its own network.
BUILT_IN = "built in"
PACKAGES = ["onnxruntime", "openvino", "torch", "torchvision", "pillow", "deepsparse"]


@dataclass(frozen=True)
class Case:
    kind: str
    what: str
    size: int
    batch: int
    threads: int

    def __str__(self):
        return f"{self.kind} {self.what} {self.size}px b{self.batch} t{self.threads}"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="interpreter of the environment with PyTorch, ONNX Runtime and OpenVINO [default: skip them]")
    parser.add_argument("--deepsparse", help="interpreter of DeepSparse's environment [default: skip it]")
    parser.add_argument("--lopper", default=str(ROOT / "target/release/lopper"), help="[default: %(default)s]")
    parser.add_argument("--work", default=str(ROOT / "target/peers"), help="directory for models and images [default: %(default)s]")
    parser.add_argument("--out", default="docs/benchmarks/peers.csv", help="[default: %(default)s]")
    parser.add_argument("--cases", default="", help="run only cases that contain all of these words, such as 'network resnet18 b16'; `sparse` and `onnx` cases run only if named")
    parser.add_argument("--engines", default="", help="run only these other engines, separated by commas")
    parser.add_argument("--threads", default=f"1,{os.cpu_count()}", help="[default: %(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="[default: %(default)s]")
    parser.add_argument("--seconds", type=float, default=0.4, help="timed seconds per engine and round [default: %(default)s]")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and exit")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds must be at least 1, and --seconds above 0")
    if not arguments.list and not Path(arguments.lopper).exists():
        parser.error(f"{arguments.lopper} does not exist: run `cargo build --release` first")
    return arguments


def cases(arguments):
    """Returns the cases whose names contain every word of --cases, the kinds `sparse` and `onnx` only if it has that word."""
    threads = sorted({int(n) for n in arguments.threads.split(",")})
    every = [Case("network", *network, n) for network in NETWORKS for n in threads]
    every += [
        Case("sparse", f"{name}+{zeros}", size, batch, n)
        for name, size in SPARSE
        for zeros in ZEROS
        for batch in [1, 16]
        for n in threads
    ]
    every += [
        Case("onnx", name, size, batch, n) for name in FILES for size in [128, 224] for batch in [1, 16] for n in threads
    ]
    every += [Case("training", name, 128, 16, n) for name in ["resnet18", "vgg16_bn"] for n in threads]
    every += [Case("layer", "3x3", 128, 16, n) for n in threads]
    every += [Case("images", what, 128, 1, 1) for what in ["decode", "decode and augment"]]
    words = arguments.cases.split()
    wanted = [case for case in every if case.kind not in ["sparse", "onnx"] or case.kind in words]
    return [case for case in wanted if all(word in str(case).split() for word in words)]


class Peer:
    """An engine in its own process."""

    def __init__(self, engine, case, python, work):
        self.engine = engine
        fields = [case.kind, case.what, case.size, case.batch, case.threads]
        command = [python, WORKER, engine, *fields, work]
        threads = {name: str(case.threads) for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]}
        # Recycle freed memory instead of unmapping it: fresh pages for every activation would slow PyTorch down.
        environment = os.environ | threads | {"MALLOC_MMAP_MAX_": "0", "PYTHONWARNINGS": "ignore"}
        self.log = open(Path(work) / "engines.log", "a")
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
        )

    def ready(self):
        return self.process.stdout.readline().strip() == "ready"

    def time(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.engine} stopped: see {self.log.name}")
        return float(answer)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def engines(case, arguments):
    """Returns the names of the engines for a case, each with its interpreter."""
    names = {
        "network": ["onnxruntime", "openvino", "pytorch", "deepsparse"],
        "sparse": ["deepsparse"],
        "onnx": ["onnxruntime", "openvino"],
        "training": ["pytorch", "torch.compile"],
        "layer": ["onednn"],
        "images": ["torchvision", "pillow"],
    }[case.kind]
    chosen = arguments.engines.split(",") if arguments.engines else names
    interpreters = {name: arguments.deepsparse if name == "deepsparse" else arguments.python for name in names}
    return [(name, interpreters[name]) for name in names if name in chosen and interpreters[name]]


def lopper_network(case, arguments):
    """Returns the milliseconds of lopper's own network."""
    mode = "--training" if case.kind == "training" else "--fold"
    name, _, bf16 = case.what.partition("+")
    options = ["--linear-weights", "bf16"] if bf16 else []
    return {"lopper": bench(case, arguments, name, mode, *options)}


def bench(case, arguments, network, *options):
    """Returns the milliseconds that `lopper bench` reports."""
    numbers = f"--size {case.size} --batch {case.batch} --threads {case.threads} --seconds {arguments.seconds}"
    command = [arguments.lopper, "bench", network, *options, *numbers.split(), "--json"]
    return float(json.loads(said_by(command))["median_ms"])


def random_model(name, size, arguments):
    """Returns the model file of an architecture with random weights for images of this size. Makes it if it is missing."""
    work = Path(arguments.work).resolve()
    random = work / f"{name}_{size}.random.safetensors"
    if not random.exists():
        # An architecture takes its number of classes and its image size from data.
        for label in range(20):
            pixel = work / "classes" / ["train", "val"][label % 2] / str(label // 2) / "0.ppm"
            pixel.parent.mkdir(parents=True, exist_ok=True)
            pixel.write_bytes(b"P6 1 1 255\n" + bytes([12 * label, 100, 200]))
        data = ["--data", work / "classes", "--size", size, "--batch", 1]
        said_by([arguments.lopper, "train", "--arch", name, "--epochs", 0, "--out", random, "--force", *data])
    return random


def imported_model(case, arguments):
    """Returns the network of an `onnx` case as lopper reads it from the ONNX file, which the other engines read, too. Makes both
    if they are missing."""
    work = Path(arguments.work).resolve()
    onnx = work / f"{case.what}_{case.size}_b{case.batch}.lopper.onnx"
    imported = onnx.with_suffix(".safetensors")
    if not imported.exists():
        random = random_model(case.what, case.size, arguments)
        said_by([arguments.lopper, "export", random, "--out", onnx, "--opset", 13, "--batch", case.batch, "--force"])
        said_by([arguments.lopper, "import", onnx, "--out", imported])
    return imported


def lopper_files(case, arguments):
    """Returns the milliseconds of lopper's own network, and of the one that it reads from ONNX: in turn in one process, since
    equal networks in two processes differ by more than the ratio to aim for."""
    own, imported = random_model(case.what, case.size, arguments), imported_model(case, arguments)
    numbers = f"--size {case.size} --batch {case.batch} --threads {case.threads} --seconds {arguments.seconds}"
    answer = said_by([arguments.lopper, "bench", own, "--beside", imported, "--fold", *numbers.split(), "--json"])
    return dict(zip([BUILT_IN, "lopper"], (row["median_ms"] for row in json.loads(answer)["networks"])))


def sparse_model(case, arguments):
    """Returns the folded model file of a sparse case, with ONNX beside it, which has the same zeros. Makes both if missing."""
    name, _, zeros = case.what.partition("+")
    work = Path(arguments.work).resolve()
    lopper = lambda *words: said_by([arguments.lopper, *words])
    folded, masked = work / f"{name}_{case.size}.safetensors", work / f"{case.what}_{case.size}.safetensors"
    if not folded.exists():
        lopper("fold", random_model(name, case.size, arguments), "--out", folded)
    if not masked.exists():
        share = ["--sparsity", int(zeros) / 100, "--granularity", "weight", "--context", "local", "--epochs", 0]
        lopper("sparsify", folded, *share, "--exclude", ENDS[name], "--out", masked)
    onnx = work / f"{case.what}_{case.size}_b{case.batch}.onnx"
    if arguments.deepsparse and not onnx.exists():
        lopper("export", masked, "--out", onnx, "--opset", 13, "--batch", case.batch)
    return masked


def lopper_sparse(case, arguments):
    """Returns the milliseconds of the masked model file."""
    return {"lopper": bench(case, arguments, sparse_model(case, arguments))}


def lopper_images(case, arguments):
    """Returns the milliseconds per image that the project's own benchmark measures."""
    made = ["--images", Path(arguments.work) / "images"] if arguments.python else []
    options = [*made, "--quick"]
    rows = bench_rows("images", options, arguments.work)
    return {"lopper": next(float(row["median_ms"]) for row in rows if row["work"] == case.what)}


def bench_rows(name, options, work):
    """Returns the rows that one of the project's own benchmarks measures."""
    path = Path(work) / f"{name}.csv"
    said_by(["cargo", "bench", "--quiet", "--bench", name, "--", *options, "--csv", path])
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def export(case, arguments):
    """Exports a network to ONNX, which DeepSparse's environment cannot do."""
    name = case.what.partition("+")[0]
    code = f"import peer_engine; peer_engine.onnx_file({name!r}, {case.size}, {case.batch}, {arguments.work!r})"
    path = {"PYTHONPATH": str(WORKER.parent), "PYTHONWARNINGS": "ignore"}
    subprocess.run([arguments.python, "-c", code], check=True, stdout=subprocess.DEVNULL, env=os.environ | path)


def in_turn(case, peers, ours, arguments):
    """Returns the rows of all rounds of a case; `ours` returns the milliseconds of lopper's runs by their names."""
    rows = []
    for number in range(arguments.rounds):
        time.sleep(0.3)  # until the previous engine's threads stop spinning
        times = ours()
        for peer in peers:
            time.sleep(0.3)
            times[peer.engine] = peer.time(arguments.seconds)
        fields = [case.kind, case.what, case.size, case.batch, case.threads]
        rows += [[*fields, engine, number, f"{ms:.4g}"] for engine, ms in times.items()]
    return rows


def run_case(case, arguments):
    """Returns all rows of a case."""
    if case.kind == "layer":
        return run_layers(case, arguments)
    if case.kind == "network" and arguments.python:
        export(case, arguments)
    if case.kind in ["sparse", "onnx"]:
        {"sparse": sparse_model, "onnx": imported_model}[case.kind](case, arguments)
    kinds = {"images": lopper_images, "sparse": lopper_sparse, "onnx": lopper_files}
    ours = kinds.get(case.kind, lopper_network)
    peers = start(case, arguments)
    rows = in_turn(case, peers, lambda: ours(case, arguments), arguments)
    for peer in peers:
        peer.stop()
    return rows


def start(case, arguments):
    """Starts the engines for a case and returns those that are ready."""
    peers = [Peer(name, case, python, arguments.work) for name, python in engines(case, arguments)]
    for peer in [peer for peer in peers if not peer.ready()]:
        print(f"  {peer.engine} cannot run this case: see {arguments.work}/engines.log", flush=True)
        peers.remove(peer)
    return peers


def run_layers(case, arguments):
    """Times each convolution of lopper's benchmark in turn with oneDNN's: one run of the benchmark per layer and round."""
    options = ["--networks", "vgg16_bn,resnet18", "--batch", case.batch, "--threads", case.threads, "--chosen-3x3", "--quick"]
    rows = []
    for first in bench_rows("conv2d", options, arguments.work):
        layer = f"{first['network']} {first['layer']}"
        case_of_layer = Case("layer", f"{layer} {first['shape']}", case.size, case.batch, case.threads)
        peers = start(case_of_layer, arguments)
        ours = lambda: bench_rows("conv2d", [*options, "--only", layer], arguments.work)[0]["median_ms"]
        rows += in_turn(case_of_layer, peers, lambda: {"lopper": float(ours())}, arguments)
        for peer in peers:
            peer.stop()
    return rows


def ratios(rows):
    """Returns, in words, the ratios of the network from ONNX to the built-in one and to the fastest other engine: medians of the
    ratios within a round. BENCHMARKS.md has them beside their targets."""
    rounds = {}
    for row in rows:
        rounds.setdefault(row[6], {})[row[5]] = float(row[7])
    others = {name for times in rounds.values() for name in times} - {"lopper", BUILT_IN}
    ratio = lambda of: statistics.median(times["lopper"] / of(times) for times in rounds.values())
    found = {BUILT_IN: ratio(lambda times: times[BUILT_IN])}
    if others:
        found["the fastest"] = ratio(lambda times: min(times[name] for name in others))
    return ", ".join(f"{ratio:.3f} of {name}" for name, ratio in found.items())


def make_images(arguments):
    """Writes 48 JPEGs of quality 85 with PIL: smooth patches of color under fine grain."""
    directory = Path(arguments.work) / "images"
    if directory.exists() or not arguments.python:
        return
    code = (
        "import numpy as np, pathlib, sys\nfrom PIL import Image\nrng = np.random.default_rng(0)\n"
        "d = pathlib.Path(sys.argv[1]); d.mkdir()\n"
        "for i in range(48):\n"
        "    size = (320 + 5 * i, 320)\n"
        "    patches = Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).resize(size, Image.BICUBIC)\n"
        "    grain = rng.integers(-6, 7, (size[1], size[0], 1))\n"
        "    Image.fromarray(np.clip(patches + grain, 0, 255).astype(np.uint8)).save(d / f'{i:02}.jpg', quality=85)\n"
    )
    subprocess.run([arguments.python, "-c", code, directory], check=True)


def head_of(arguments):
    """Returns the header of the result file."""
    engines = versions(filter(None, [arguments.deepsparse, arguments.python]), PACKAGES)
    # Paths on this machine are meaningless elsewhere.
    command = shlex.join(
        ["python3", "benches/peers.py"]
        + (["--python", "VENV/bin/python"] if arguments.python else [])
        + (["--deepsparse", "VENV_DEEPSPARSE/bin/python"] if arguments.deepsparse else [])
        + ["--threads", arguments.threads, "--rounds", str(arguments.rounds), "--seconds", f"{arguments.seconds:g}"]
        + [word for name in ["cases", "engines"] if (value := getattr(arguments, name)) for word in [f"--{name}", value]]
    )
    return provenance(arguments.lopper, engines, command)


def main():
    arguments = parse()
    chosen = cases(arguments)
    if not chosen:
        sys.exit("--cases: no case matches all of these words; --list prints the names")
    if arguments.list:
        print(*chosen, sep="\n")
        return
    Path(arguments.work).mkdir(parents=True, exist_ok=True)
    make_images(arguments)
    head, rows = head_of(arguments), []
    for case in chosen:
        begin = time.monotonic()
        new = run_case(case, arguments)
        rows += new
        medians = {}
        for row in new:
            medians.setdefault(row[5], []).append(float(row[7]))
        shown = ", ".join(f"{engine} {statistics.median(ms):.4g}" for engine, ms in medians.items())
        print(f"{case}: {shown} ms  ({time.monotonic() - begin:.0f} s)", flush=True)
        if case.kind == "onnx":
            print(f"  lopper: {ratios(new)}", flush=True)
        write(arguments.out, head, COLUMNS, rows)


if __name__ == "__main__":
    main()
