"""Writes the ONNX project's own tests of operators as files that lopper's test reads.

usage: onnx_cases.py FOLDER OPSET OPERATOR...

For each case of these operators: FOLDER/NAME.onnx, whose inputs but the first are constants and whose only output is the
first; NAME.input and NAME.output, f32; NAME.tolerance, relative and absolute; NAME.shapes, a line each for input and output.
Prints the name and the operator of each case; that of functions which ONNX writes out as operators of OPSET is `several`.
Cases that OPSET does not have, or whose first input or output is not of numbers, are left out; their names and operators go to
FOLDER/left_out, and the version of ONNX goes to FOLDER/version.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

warnings.simplefilter("ignore")


def write(case, folder, opset):
    model, (inputs, outputs) = case.model, case.data_sets[0]
    first = [inputs[0], outputs[0]] if inputs else []
    if any(isinstance(x, list) for x in first):
        return False
    numbers = [np.asarray(x) for x in first]
    if not numbers or any(x.dtype != np.float32 for x in numbers):
        return False
    graph = model.graph
    given = [value.name for value in graph.input]
    for name, value in list(zip(given, inputs))[1:]:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    del graph.input[1:], graph.output[1:]
    for node in graph.node:
        # The parts of a split are as many as its outputs; the further outputs of others may be left out.
        if node.op_type != "Split":
            del node.output[1:]
    for entry in model.opset_import:
        entry.version = min(entry.version, opset)
    try:
        # Operators of later versions differ, if at all, in the types that they accept.
        onnx.checker.check_model(model, full_check=True)
    except Exception:
        return False
    path = folder / case.name
    onnx.save(model, f"{path}.onnx")
    numbers[0].astype("<f4").tofile(f"{path}.input")
    numbers[1].astype("<f4").tofile(f"{path}.output")
    Path(f"{path}.tolerance").write_text(f"{case.rtol} {case.atol}")
    Path(f"{path}.shapes").write_text("\n".join(" ".join(map(str, x.shape)) for x in numbers))
    return True


def main():
    folder, opset, operators = Path(sys.argv[1]), int(sys.argv[2]), set(sys.argv[3:])
    left_out = []
    for case in collect_testcases(None):
        kinds = {node.op_type for node in case.model.graph.node}
        if not kinds <= operators:
            continue
        several = len(kinds) > 1 or "_expanded" in case.name
        if several and any(entry.version > opset for entry in case.model.opset_import):
            continue
        operator = "several" if several else min(kinds)
        if write(case, folder, opset):
            print(case.name, operator)
        else:
            left_out.append(f"{case.name} {operator}")
    (folder / "left_out").write_text("\n".join(left_out))
    (folder / "version").write_text(onnx.__version__)


if __name__ == "__main__":
    main()
