"""Stand-ins for the engines among which ``backend="auto"`` chooses."""

import threading

import torch

from lsabinet_core.inference.backends.auto import AutoBackend
from lsabinet_core.inference.backends.shaped import ShapedBackend
from lsabinet_core.inference.backends.shapes import Run
from lsabinet_core.inference.backends.torch_ import TorchBackend, deploy
from lsabinet_core.inference.deploy import DeployedNetwork


class Clock:
    """A clock that advances by the durations of the stand-in engines, independently of the machine's speed."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


CLOCK = Clock()


DEPLOYED: dict[torch.nn.Module, DeployedNetwork] = {}
"""By network: the stand-ins share it, because each start of ``auto`` loads several."""


class Engine(TorchBackend):
    """PyTorch in fp32 under the name and precision of another engine; it takes ``seconds``, and its logits may be
    wrong or its methods fail."""

    def __init__(self, name, seconds=0.01, error=0.0, fails_in=(), precision="fp32", **options):
        super().__init__(**options, precision="fp32" if precision == "bf16" else precision)
        self.claimed = precision if precision == "bf16" else self.precision
        self.name, self.seconds, self.error, self.fails_in = name, seconds, error, fails_in

    def load(self, source):
        self.close()
        if source.model not in DEPLOYED:
            DEPLOYED[source.model] = deploy(source, torch.device("cpu"), torch.float32)
        self._network = DEPLOYED[source.model]
        self.precision = self.claimed

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
    """An engine that must be converted for each size: PyTorch, which records the shapes that it ran."""

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
        return self.shapes.is_built(shape)

    def _build(self, shape):
        assert self.may_build.wait(60)
        if self.breaks:
            raise RuntimeError("openvino cannot be built")

        def run(images):
            CLOCK.now += 0.01
            self.ran.append(shape)
            return self._inner.infer(images)

        return Run(run)

    def close(self):
        self.may_build.set()
        super().close()


def load(network, precision="auto") -> AutoBackend:
    backend = AutoBackend("cpu", precision)
    backend.load(network)
    return backend


def until_built(engine, shape) -> None:
    engine.may_build.set()
    engine.shapes.build(shape).exception(60)
