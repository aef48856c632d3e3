"""From and to PyTorch, which is imported when it is needed."""

import importlib.util
import itertools
import tempfile
import warnings
from pathlib import Path

from ._lopper import import_onnx

_NUMBERS = itertools.count()


def from_torch(module, example, *, classes=None, mean=None, std=None, opset=17):
    """Returns the network of a torch.nn.Module that classifies images.

    `example` is a batch of images, [N, C, H, W], of the size that the network will have. `classes` are names; `mean` and `std`,
    for each channel, say how images are normalized. The module is exported as ONNX in eval mode, and stays as it is. `report`
    of the result has remarks on how it was read. What lopper has no layer for is an Error that lists it.
    """
    import torch

    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "module.onnx"
            _export(torch, module, torch.as_tensor(example), str(path), opset)
            return import_onnx(path, classes=classes, mean=mean, std=std)
    finally:
        for part, training in modes:
            part.training = training


def _export(torch, module, example, path, opset):
    options = {
        "input_names": ["images"],
        "output_names": ["logits"],
        "dynamic_axes": {"images": {0: "N"}, "logits": {0: "N"}},
        "opset_version": opset,
        # In eval mode, but without merging batch norms, which training and criteria need.
        "training": torch.onnx.TrainingMode.PRESERVE,
        "do_constant_folding": False,
    }
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(module, (example,), path, dynamo=False, **options)
        except TypeError as error:
            # Before PyTorch 2.5 there was no choice of exporters.
            if "dynamo" not in str(error):
                raise
            torch.onnx.export(module, (example,), path, **options)


def to_torch(model):
    """Returns `model` as a torch.nn.Module; see Model.to_torch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.py"
        model.export_torch(path)
        spec = importlib.util.spec_from_file_location(f"lopper_network_{next(_NUMBERS)}", path)
        source = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(source)
        return source.load()
