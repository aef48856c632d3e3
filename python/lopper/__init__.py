"""Neural-network compression: prune, fold, factorize and sparsify convolutional networks, and run them fast on CPUs."""

from ._lopper import (
    Certificate,
    Error,
    Evaluation,
    FileError,
    InternalError,
    Model,
    Plan,
    __version__,
    import_onnx,
    load,
)
from ._torch import from_torch

__all__ = [
    "Certificate",
    "Error",
    "Evaluation",
    "FileError",
    "InternalError",
    "Model",
    "Plan",
    "__version__",
    "from_torch",
    "import_onnx",
    "load",
]
