"""Stand-ins for the engines among which ``backend="auto"`` chooses."""

import threading

import torch

from lsabinet_core.inference.backends.auto import AutoBackend
from lsabinet_core.inference.backends.common import ShapedBackend
from lsabinet_core.inference.backends.torch_ import TorchBackend


class Clock:
    """Goes by what engines say they take, so that the machine's own speed does not matter."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


CLOCK = Clock()


class Engine(TorchBackend):
    """PyTorch under another name that takes ``seconds``, with an error in its logits, or failing."""

    def __init__(self, name, seconds=0.01, error=0.0, fails_in=(), **options):
        super().__init__(**options)
        self.name, self.seconds, self.error, self.fails_in = name, seconds, error, fails_in

    def prepare(self, size, batch=1):
        self._fail("prepare")
        super().prepare(size, batch)

    def infer(self, images):
        self._fail("infer")
        CLOCK.now += self.seconds
        return super().infer(images) + self.error

    def _fail(self, where):
        if where in self.fails_in:
            raise RuntimeError(f"{self.name} broke in {where}\nwith a long trace")


class Converted(ShapedBackend):
    """An engine that has to be converted for each size first: PyTorch, which tells what it ran."""

    name = "openvino"

    def __init__(self, device, precision):
        super().__init__(torch.device(device), precision, 0, ("fp32",))
        self.ran, self.may_build, self.breaks = [], threading.Event(), False
        self._inner = TorchBackend(device, precision)
        self.may_build.set()

    def load(self, source):
        super().load(source)
        self._inner.load(source)

    def is_built(self, shape):
        return shape in self._runs

    def _build(self, shape):
        assert self.may_build.wait(60)
        if self.breaks:
            raise RuntimeError("openvino cannot be built")

        def run(images):
            CLOCK.now += 0.01
            self.ran.append(shape)
            return self._inner.infer(images)

        return run

    def close(self):
        self.may_build.set()
        super().close()


def load(network) -> AutoBackend:
    backend = AutoBackend("cpu")
    backend.load(network)
    return backend


def until_built(engine, shape) -> None:
    engine.may_build.set()
    engine._building[shape].exception(60)
