"""The record of the input shapes that an engine is ready for."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch

Size = tuple[int, int]
"""(H, W) in pixels."""
Shape = tuple[int, int, int]
"""(N, H, W) of the images that go through the network in one call."""
Images = np.ndarray | torch.Tensor
"""uint8 (N, H, W, 3), BGR."""

MAX_SHAPES = 16
"""Maximum number of shapes kept built (LRU eviction): enough for one to eight images of two sizes."""


def shape_of(images: Images) -> Shape:
    """Number and size of the images."""
    batch, height, width = images.shape[:3]
    return batch, height, width


@dataclass(frozen=True)
class Run:
    """Runs images of one shape on an engine.

    Attributes:
        infer: maps uint8 (N, H, W, 3), BGR, of that shape to logits (N, C, h, w).
        network_alone: see ``Backend.network_alone``.
        keeps: objects that must live as long as the run, but that the calls do not reference.
    """

    infer: Callable[[Images], torch.Tensor]
    network_alone: Callable[[], object] | None = None
    keeps: object = None


class Shapes:
    """The shape states of one engine, recorded in this one place only.

    A shape is unknown at first. It may be deferred (images arrived before it was built, and PyTorch runs them),
    building, built, or warm (a warm-up has run). A size for which nothing can be built is plain: PyTorch runs it.
    """

    def __init__(self):
        self._runs: OrderedDict[Shape, Run] = OrderedDict()
        self._builds: dict[Shape, Future[Run]] = {}
        self._limits: dict[Shape, int] = {}
        self._batches: dict[Shape, int] = {}
        self._deferred: dict[Shape, int] = {}
        self._plain: dict[Size, bool] = {}
        self._warm: set[Shape] = set()

    def clear(self) -> None:
        """Forget everything, because the network was replaced or freed."""
        self.__init__()

    # Built shapes.

    @property
    def built(self) -> list[Shape]:
        """The built shapes, the least recently used first."""
        return list(self._runs)

    def is_built(self, shape: Shape) -> bool:
        return shape in self._runs

    def run(self, shape: Shape) -> Run | None:
        """The run of that shape, marked as used; None if it is not built."""
        if shape in self._runs:
            self._runs.move_to_end(shape)
        return self._runs.get(shape)

    def keep(self, shape: Shape, run: Run) -> None:
        """Record a built shape; beyond ``MAX_SHAPES``, the least recently used one is dropped."""
        self._runs[shape] = run
        while len(self._runs) > MAX_SHAPES:
            self._runs.popitem(last=False)

    def drop(self, shape: Shape) -> None:
        """Free the run of a shape."""
        self._runs.pop(shape, None)

    # Background builds.

    def is_building(self, shape: Shape) -> bool:
        return shape in self._builds

    def build(self, shape: Shape) -> "Future[Run] | None":
        """The background build of a shape, which may have finished."""
        return self._builds.get(shape)

    def start_build(self, shape: Shape, build: "Future[Run]") -> None:
        self._builds[shape] = build

    def end_build(self, shape: Shape) -> Run:
        """Wait for a build and return its result without keeping it. Raises any exception of the build."""
        return self._builds.pop(shape).result()

    # Batch sizes.

    def limit(self, shape: Shape) -> int:
        """Maximum number of images of that shape in one call, limited by memory."""
        return self._limits.get(shape, shape[0])

    def set_limit(self, shape: Shape, batch: int) -> None:
        self._limits[shape] = batch

    def batch(self, shape: Shape, find: Callable[[], int]) -> int:
        """The result of ``find`` for that shape; called only once, because searching the disk takes a moment."""
        if shape not in self._batches:
            self._batches[shape] = find()
        return self._batches[shape]

    # PyTorch in place of the engine.

    def is_deferred(self, shape: Shape) -> bool:
        """Whether images of that shape arrived before it was built."""
        return shape in self._deferred

    def defer(self, shape: Shape, *, again: bool = False) -> int:
        """Count a call that PyTorch runs because the shape is not built; ``again`` resets the count to 0.

        Returns:
            The number of these calls.
        """
        self._deferred[shape] = 0 if again else self._deferred.get(shape, 0) + 1
        return self._deferred[shape]

    def stays_plain(self, size: Size) -> bool | None:
        """Whether PyTorch always runs that size; None if it has not been checked."""
        return self._plain.get(size)

    def note_plain(self, size: Size, stays: bool) -> None:
        self._plain[size] = stays

    # Warm-up.

    def is_warm(self, shape: Shape) -> bool:
        return shape in self._warm

    def note_warm(self, shape: Shape) -> None:
        self._warm.add(shape)
