"""Quantizes an ONNX file with ONNX Runtime.

usage: onnx_quantize.py FOLDER

Reads FOLDER/plain.onnx and FOLDER/images (f32, what its values are measured with), and writes FOLDER/quantized.onnx, with a pair of
QuantizeLinear and DequantizeLinear around values and weights.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class Images(CalibrationDataReader):
    def __init__(self, name, images):
        self.left = iter([{name: images}])

    def get_next(self):
        return next(self.left, None)


def main():
    folder = Path(sys.argv[1])
    source = onnx.load(folder / "plain.onnx").graph.input[0]
    shape = [dim.dim_value for dim in source.type.tensor_type.shape.dim][1:]
    images = np.fromfile(folder / "images", np.float32).reshape(-1, *shape)
    quantize_static(
        folder / "plain.onnx",
        folder / "quantized.onnx",
        Images(source.name, images),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


if __name__ == "__main__":
    main()
