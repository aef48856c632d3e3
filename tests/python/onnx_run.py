"""Checks every ONNX file of a folder and runs it in ONNX Runtime.

usage: onnx_run.py FOLDER

For each NAME.onnx, reads NAME.input (the numbers of its input, of its type) and writes NAME.output (f32).
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


def run(path):
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    (source,), (result,) = session.get_inputs(), session.get_outputs()
    x = np.fromfile(path.with_suffix(".input"), TYPES[source.type]).reshape(-1, *source.shape[1:])
    (y,) = session.run(None, {source.name: x})
    expected = [len(x), *result.shape[1:]]
    if list(y.shape) != expected:
        sys.exit(f"{path.name}: {y.shape}, described as {expected}")
    y.astype("<f4").tofile(path.with_suffix(".output"))


def main():
    for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
        try:
            run(path)
        except Exception as error:
            sys.exit(f"{path.name}: {error}")


if __name__ == "__main__":
    main()
