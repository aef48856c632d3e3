from os import PathLike
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import torch

__version__: str

_Path = Union[str, "PathLike[str]"]
_Images = NDArray[np.float32]
_Layout = Literal["NHWC", "NCHW"]

class Error(Exception):
    """An option, a shape or a network that does not fit."""

class FileError(Error):
    """A file that cannot be read or written, or is not what it should be."""

class InternalError(Error):
    """A bug in lopper."""

class Evaluation:
    """The result of an evaluation."""

    @property
    def top1(self) -> float: ...
    @property
    def top5(self) -> float: ...
    @property
    def loss(self) -> float: ...
    @property
    def images(self) -> int: ...

class Certificate:
    """What a technique claims about the function of the network that it made, and what was measured."""

    @property
    def technique(self) -> str: ...
    @property
    def claim(self) -> Literal["exact", "approximate", "trained"]: ...
    @property
    def bound(self) -> Optional[float]: ...
    @property
    def predicted(self) -> Optional[Tuple[str, float]]: ...
    @property
    def epochs(self) -> Optional[int]: ...
    @property
    def logit_difference(self) -> Optional[float]: ...
    @property
    def images(self) -> int: ...
    @property
    def holds(self) -> Optional[bool]: ...

class Plan:
    """A network prepared to run on a number of images. Runs of one plan wait for each other."""

    @property
    def input_shape(self) -> Tuple[int, int, int, int]: ...
    @property
    def output_shape(self) -> Tuple[int, ...]: ...
    def run(self, images: _Images, layout: _Layout = "NHWC") -> NDArray[np.float32]: ...

class Model:
    """A network. It never changes: each technique returns another one."""

    @property
    def arch(self) -> str: ...
    @property
    def input_shape(self) -> Tuple[int, int, int]: ...
    @property
    def classes(self) -> List[str]: ...
    @property
    def mean(self) -> List[float]: ...
    @property
    def std(self) -> List[float]: ...
    @property
    def preparation(self) -> Optional[str]: ...
    @property
    def parameters(self) -> int: ...
    @property
    def macs(self) -> int: ...
    @property
    def report(self) -> str: ...
    @property
    def certificates(self) -> List[Certificate]: ...
    def prune(
        self,
        *,
        data: Optional[Tuple[_Images, ArrayLike]] = None,
        threads: Optional[int] = None,
        criterion: Optional[str] = None,
        fraction: Optional[float] = None,
        width: Optional[float] = None,
        widths: Optional[Dict[str, int]] = None,
        target: Optional[Dict[str, str]] = None,
        context: Optional[Literal["global", "local"]] = None,
        constants: Optional[Literal["exact", "drop"]] = None,
        include: Optional[Sequence[str]] = None,
        exclude: Optional[Sequence[str]] = None,
        **options: Any,
    ) -> Model: ...
    def sparsify(
        self,
        *,
        data: Optional[Tuple[_Images, ArrayLike]] = None,
        threads: Optional[int] = None,
        sparsity: Optional[float] = None,
        granularity: Optional[str] = None,
        criterion: Optional[str] = None,
        context: Optional[Literal["global", "local", "stage"]] = None,
        include: Optional[Sequence[str]] = None,
        exclude: Optional[Sequence[str]] = None,
        **options: Any,
    ) -> Model: ...
    def factorize(
        self,
        *,
        data: Optional[Tuple[_Images, ArrayLike]] = None,
        threads: Optional[int] = None,
        fraction: Optional[float] = None,
        energy: Optional[float] = None,
        error: Optional[float] = None,
        vbmf: Optional[bool] = None,
        target_macs: Optional[float] = None,
        conv: Optional[Literal["spatial", "channel", "tucker", "cp", "auto", "none"]] = None,
        **options: Any,
    ) -> Model: ...
    def fold(self) -> Model: ...
    def compact(self, **options: Any) -> Model: ...
    def evaluate(
        self,
        images: _Images,
        labels: ArrayLike,
        *,
        batch: int = 32,
        threads: Optional[int] = None,
        layout: _Layout = "NHWC",
    ) -> Evaluation: ...
    def plan(self, batch: int = 1, threads: Optional[int] = None, *, device: str = "cpu") -> Plan: ...
    def summary(self) -> str: ...
    def save(self, path: _Path) -> None: ...
    def export_onnx(
        self,
        path: _Path,
        *,
        opset: int = 17,
        batch: Optional[int] = None,
        bytes: bool = False,
        dense: bool = False,
        external_data: bool = False,
    ) -> None: ...
    def export_torch(self, path: _Path) -> None: ...
    def export_state_dict(self, path: _Path) -> None: ...
    def to_torch(self) -> torch.nn.Module: ...

def load(path: _Path) -> Model: ...
def import_onnx(
    path: _Path,
    *,
    size: Optional[int] = None,
    classes: Optional[Sequence[str]] = None,
    mean: Optional[Sequence[float]] = None,
    std: Optional[Sequence[float]] = None,
) -> Model: ...
def from_torch(
    module: torch.nn.Module,
    example: Union[torch.Tensor, NDArray[np.float32]],
    *,
    classes: Optional[Sequence[str]] = None,
    mean: Optional[Sequence[float]] = None,
    std: Optional[Sequence[float]] = None,
    opset: int = 17,
) -> Model: ...
