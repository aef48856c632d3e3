"""Runs every module of a folder in PyTorch.

usage: torch_run.py FOLDER

For each NAME.py, reads NAME.input (f32) and writes NAME.output (f32).
"""

import importlib
import sys
from pathlib import Path

import torch


def main():
    folder = Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    torch.set_num_threads(1)
    for path in sorted(folder.glob("*.py")):
        module = importlib.import_module(path.stem)
        net = module.load()
        shape = [int(n) for n in path.with_suffix(".shape").read_text().split()]
        x = torch.frombuffer(bytearray(path.with_suffix(".input").read_bytes()), dtype=torch.float32).reshape(shape)
        with torch.inference_mode():
            y = net(x)
        path.with_suffix(".output").write_bytes(y.contiguous().numpy().astype("<f4").tobytes())
        if len(module.CLASSES) != y.shape[1]:
            sys.exit(f"{path.name}: {len(module.CLASSES)} classes, {y.shape[1]} outputs")
        # Its state is that of a network that trains.
        net.train()
        net(x.repeat(2, 1, 1, 1)).sum().backward()


if __name__ == "__main__":
    main()
