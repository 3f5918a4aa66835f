"""The table of engines: a new engine is one class and one entry here."""

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """Where an engine's backend is, and what it needs and runs.

    Attributes:
        module: module of the backend, imported only when the backend is created.
        class_name: name of the backend in ``module``.
        auto_on: device types, ``cpu`` and ``cuda``, on which ``auto`` considers it.
        distributions: PyPI packages, one of which it requires; the first one has the name of the imported package.
        format: the format of exported models that is this engine's own: the engine runs them by default, and
            ``lsabinet export --to FORMAT`` builds them. None if there is none.
        also_reads: further formats that it runs.
    """

    module: str
    class_name: str
    auto_on: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    format: str | None = None
    also_reads: tuple[str, ...] = ()

    @property
    def is_installed(self) -> bool:
        return not self.distributions or importlib.util.find_spec(self.distributions[0]) is not None

    def reads(self, exported_format: str) -> bool:
        """Return whether the engine runs exported models of this format."""
        return exported_format == self.format or exported_format in self.also_reads


PLAIN = "torch"
"""The engine without extra packages, builds or fixed sizes."""

_HERE = "lsabinet_core.inference.backends"
_ONNX_RUNTIME = ("onnxruntime", "onnxruntime-gpu")

# ``auto`` compares them in this order, the fastest on most machines first; PyTorch is last, because it always works.
ENGINES: dict[str, Engine] = {
    "auto": Engine(f"{_HERE}.auto", "AutoBackend"),
    "tensorrt": Engine(f"{_HERE}.tensorrt_", "TensorRTBackend", ("cuda",), ("tensorrt",), format="tensorrt"),
    "onnxruntime-tensorrt": Engine(
        f"{_HERE}.onnxruntime_", "OnnxRuntimeTensorRTBackend", ("cuda",), _ONNX_RUNTIME, also_reads=("onnx",)
    ),
    "openvino": Engine(
        f"{_HERE}.openvino_", "OpenVINOBackend", ("cpu",), ("openvino",), format="openvino", also_reads=("onnx",)
    ),
    "torch-compile": Engine(f"{_HERE}.torch_compile", "TorchCompileBackend", ("cpu", "cuda")),
    "cuda-graph": Engine(f"{_HERE}.cuda_graph", "CudaGraphBackend", ("cuda",)),
    "onnxruntime": Engine(f"{_HERE}.onnxruntime_", "OnnxRuntimeBackend", ("cpu", "cuda"), _ONNX_RUNTIME, format="onnx"),
    "torchscript": Engine(f"{_HERE}.torchscript_", "TorchScriptBackend", format="torchscript"),
    PLAIN: Engine(f"{_HERE}.torch_", "TorchBackend", ("cpu", "cuda")),
}


def candidates(device_type: str) -> tuple[str, ...]:
    """Names of the engines that ``auto`` considers on ``cpu`` or ``cuda``, the fastest on most machines first."""
    return tuple(name for name, engine in ENGINES.items() if device_type in engine.auto_on)


def engines_of_format(exported_format: str) -> list[str]:
    """Names of the engines that run exported models of a format, its default engine first."""
    names = [name for name, engine in ENGINES.items() if engine.reads(exported_format)]
    return sorted(names, key=lambda name: ENGINES[name].format != exported_format)


def export_command(name: str, precision: str, shape: tuple[int, int, int]) -> str | None:
    """The command that builds the engine for images (N, H, W) in advance; None if ``lsabinet export`` cannot."""
    own_format = ENGINES[name].format
    # int8 must be calibrated before it can be used, and bf16 is not a storage format.
    if own_format is None or precision not in ("fp32", "fp16"):
        return None
    batch, height, width = shape
    # The ONNX model accepts any number of images.
    some = f" --batch {batch}" if batch > 1 and own_format != "onnx" else ""
    return f"`lsabinet export --to {own_format} --precision {precision} --size {height}x{width}{some} --weights W`"
