"""Writes a folded model file of lopper as ONNX, with the same weights and therefore the same zeros.

usage: sparse_onnx.py MODEL.safetensors OUT.onnx SIZE BATCH

Needs numpy and onnx. Images are NCHW, as other engines expect them.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save


def read(path):
    """Returns the graph and the f32 tensors of a model file: a safetensors file whose header holds the graph."""
    data = Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    graph = json.loads(header.pop("__metadata__")["lopper"])["graph"]
    tensors = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        if tensor["dtype"] == "F32":
            values = np.frombuffer(data, "<f4", (end - begin) // 4, 8 + length + begin)
            tensors[name] = values.reshape(tensor["shape"])
    return graph, tensors


def window(options):
    """Returns ONNX's attributes of a fixed window."""
    attributes = {"kernel_shape": options["kernel"], "strides": options["stride"], "pads": options["padding"] * 2}
    return attributes | {"ceil_mode": int(options["ceil_mode"])}


class Converter:
    def __init__(self, tensors, size):
        self.tensors, self.nodes, self.initializers = tensors, [], []
        # Of each value: its name, and [C, H, W] or [C].
        self.values, self.size = [], size

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def add(self, kind, name, inputs, shape, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        self.values.append((name, shape))

    def layer(self, node):
        layer, name = node["layer"], node["name"]
        kind = layer if isinstance(layer, str) else next(iter(layer))
        options = {} if isinstance(layer, str) else layer[kind]
        sources = [self.values[i] for i in node["inputs"]]
        names, shape = [source[0] for source in sources], sources[0][1] if sources else None
        if kind == "Input":
            self.values.append((name, [options["channels"], self.size, self.size]))
        elif kind == "Conv2d":
            self.conv2d(name, names, shape, options)
        elif kind == "Linear":
            self.linear(name, names, shape)
        elif kind == "Activation" and options == "Relu":
            self.add("Relu", name, names, shape)
        elif kind == "Activation" and options == "Relu6":
            limits = [self.constant(f"{name}.{limit}", limit) for limit in [0, 6]]
            self.add("Clip", name, names + limits, shape)
        elif kind == "Pool":
            self.pool(name, names, shape, options["kind"], options["window"])
        elif kind == "Flatten":
            self.values.append((names[0], shape))  # by the linear layer, which permutes its weight
        elif kind == "Dropout":
            self.values.append((names[0], shape))
        elif kind == "Add":
            self.add("Add", name, names, shape)
        else:
            sys.exit(f"layer {name}: {kind} {options} has no counterpart here; batch norms must be folded")

    def conv2d(self, name, names, shape, options):
        weight = self.tensors[f"{name}.weight"].transpose(0, 3, 1, 2)
        inputs = names + [self.constant(f"{name}.weight", weight)]
        if f"{name}.bias" in self.tensors:
            inputs.append(self.constant(f"{name}.bias", self.tensors[f"{name}.bias"]))
        out = [weight.shape[0]]
        for axis in [0, 1]:
            reach = options["dilation"][axis] * (weight.shape[2 + axis] - 1) + 1
            out.append((shape[1 + axis] + 2 * options["padding"][axis] - reach) // options["stride"][axis] + 1)
        attributes = {"strides": options["stride"], "pads": options["padding"] * 2}
        self.add("Conv", name, inputs, out, **attributes, dilations=options["dilation"], group=options["groups"])

    def linear(self, name, names, shape):
        weight = self.tensors[f"{name}.weight"]
        if len(shape) == 3:
            # lopper flattens [H, W, C], ONNX [C, H, W].
            c, h, w = shape
            weight = weight.reshape(-1, h, w, c).transpose(0, 3, 1, 2).reshape(len(weight), -1)
            self.nodes.append(helper.make_node("Flatten", names, [f"{name}.flat"], f"{name}.flat"))
            names = [f"{name}.flat"]
        inputs = names + [self.constant(f"{name}.weight", weight)]
        inputs.append(self.constant(f"{name}.bias", self.tensors.get(f"{name}.bias", np.zeros(len(weight)))))
        self.add("Gemm", name, inputs, [len(weight)], transB=1)

    def pool(self, name, names, shape, kind, options):
        if "Fixed" in options:
            options = options["Fixed"]
            attributes = window(options)
            sides = zip(shape[1:], options["kernel"], options["stride"], options["padding"])
            out = [(side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in sides]
            if kind == "Average":
                attributes["count_include_pad"] = int(options["count_include_pad"])
            self.add({"Max": "MaxPool", "Average": "AveragePool"}[kind], name, names, [shape[0], *out], **attributes)
        elif options == "Global" or options["Adaptive"] == [1, 1]:
            self.add({"Max": "GlobalMaxPool", "Average": "GlobalAveragePool"}[kind], name, names, [shape[0], 1, 1])
        elif options["Adaptive"] == shape[1:]:
            self.values.append((names[0], shape))
        else:
            sys.exit(f"layer {name}: pooling {shape[1:]} to {options['Adaptive']} has no counterpart here")


def write(model, out, size, batch):
    graph, tensors = read(model)
    converter = Converter(tensors, size)
    for node in graph["nodes"]:
        converter.layer(node)
    (first, shape), (last, width) = converter.values[0], converter.values[-1]
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
    whole = helper.make_graph(
        converter.nodes, "lopper", [value(first, shape)], [value(last, width)], converter.initializers
    )
    onnx = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(onnx)
    part = Path(out).with_suffix(".part")
    save(onnx, str(part))
    part.rename(out)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
