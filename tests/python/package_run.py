"""Runs every model file of a folder in the Python package.

usage: package_run.py FOLDER

For each NAME.safetensors, NAME.images (f32) must give the bits of NAME.expected: on one thread and on two, with images in either
layout, and from a copy of the file. Prints the number of networks.
"""

import sys
from pathlib import Path

import lopper
import numpy as np


def check(path):
    model = lopper.load(path)
    images = np.fromfile(path.with_suffix(".images"), "<f4").reshape(-1, *model.input_shape)
    expected = path.with_suffix(".expected").read_bytes()
    copy = path.with_suffix(".copy")
    model.save(copy)
    first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    for threads in [1, 2]:
        plan = model.plan(len(images), threads)
        again = lopper.load(copy).plan(len(images), threads)
        runs = [plan.run(images), plan.run(first, layout="NCHW"), again.run(images), plan.run(images)]
        for number, found in enumerate(runs):
            if found.astype("<f4").tobytes() != expected or found.shape != plan.output_shape:
                sys.exit(f"{path.name}, {threads} threads, run {number}: other bits than the plan's")


def main():
    paths = sorted(Path(sys.argv[1]).glob("*.safetensors"))
    for path in paths:
        check(path)
    print(len(paths), "networks")


if __name__ == "__main__":
    main()
