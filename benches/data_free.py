#!/usr/bin/env python3
"""Measures what a student learns without data: from images that are made from its teacher alone, beside real ones and noise.

    cargo build --release
    python3 benches/data_free.py [--lopper target/release/lopper] [--count 640] [--steps 200] [--epochs 40] [--seeds 1,2,3]

Trains a teacher on built-in images, makes images from it (`lopper synthesize`), and distills the same student from the teacher's
own images, from as many that were made, and from as many of random pixels, with the teacher's word for the labels alone. Prints
top-1 on real validation images in percent for each seed, and the means.
"""

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path

from record import said_by

DATA = ["--data", "fashion-mnist"]


def run(lopper, *arguments):
    return json.loads(said_by([lopper, *arguments, "--json", "--threads", "2"]))


def noise(like, out):
    """Writes as many images of random pixels as there are in `like`, and the same table of labels."""
    generator = random.Random(1)
    side = 32
    for image in sorted(like.glob("*/*.png")):
        path = out / image.parent.name / f"{image.stem}.ppm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"P6 {side} {side} 255\n".encode() + generator.randbytes(3 * side * side))
    (out / "labels.csv").write_text((like / "labels.csv").read_text().replace(".png", ".ppm"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lopper", default="target/release/lopper")
    parser.add_argument("--teacher", default="cifar_resnet20", help="architecture of the teacher")
    parser.add_argument("--student", default="resnet8", help="architecture of the student")
    parser.add_argument("--images", type=int, default=200, help="real images per class for the teacher")
    parser.add_argument("--teacher-epochs", type=int, default=8)
    parser.add_argument("--count", type=int, default=640, help="images to make")
    parser.add_argument("--steps", type=int, default=200, help="steps for each batch of them")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of the student")
    parser.add_argument("--batch", type=int, default=64, help="images in a batch of training")
    parser.add_argument("--seeds", default="1,2,3")
    options = parser.parse_args()
    lopper, found = options.lopper, {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        teacher, made, static = folder / "teacher.safetensors", folder / "made", folder / "noise"
        fit = ["--learning-rate", "2e-3", "--epochs", options.teacher_epochs, "--limit", options.images, "--batch", options.batch]
        trained = run(lopper, "train", "--arch", options.teacher, *DATA, *fit, "--seed", 1, "--out", teacher)
        print(f"teacher {options.teacher}: {100 * trained['stages'][-1]['top1']:.1f} %", flush=True)
        run(lopper, "synthesize", teacher, "--count", options.count, "--steps", options.steps, "--out", made)
        noise(made, static)
        real = [*DATA, "--limit", max(1, options.count // 10)]
        sources = {
            "real images": real,
            "made images": ["--data", made / "labels.csv", "--resize", "none"],
            "noise": ["--data", static / "labels.csv", "--resize", "none"],
        }
        for seed in options.seeds.split(","):
            untrained = folder / "untrained.safetensors"
            run(lopper, "train", "--arch", options.student, *DATA, "--epochs", 0, "--seed", seed, "--out", untrained, "--force")
            for name, source in sources.items():
                student = folder / "student.safetensors"
                # The teacher's predictions alone count: labels of made images are what they were made for, those of noise none.
                lesson = ["--teacher", teacher, "--weight", 1, "--epochs", options.epochs, "--learning-rate", "2e-3", "--batch", options.batch]
                run(lopper, "distill", untrained, *lesson, *source, "--seed", seed, "--out", student, "--force")
                top1 = 100 * run(lopper, "eval", student, *DATA)["top1"]
                found.setdefault(name, []).append(top1)
                print(f"  seed {seed}, {options.student} from {name}: {top1:.1f} %", flush=True)
    for name, shares in found.items():
        print(f"{name:12} {statistics.mean(shares):5.1f} %")


if __name__ == "__main__":
    main()
