"""TorchScript: for PyTorch's C++ library."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lsabinet_core.errors import WeightsError
from lsabinet_core.inference.convert import METADATA_KEY


def trace(network: nn.Module, batch: int, size: tuple[int, int]) -> torch.jit.ScriptModule:
    """Trace the deployed network for one input size and any number of images."""
    device = next(network.buffers()).device
    images = torch.zeros(batch, *size, 3, dtype=torch.uint8, device=device)
    with _undeprecated(), torch.no_grad():
        # The size is meant to be a constant.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        script = torch.jit.trace(network.eval(), images, check_trace=False)
    assert isinstance(script, torch.jit.ScriptModule), "the trace of a module is a module"
    return script


def save(script: torch.jit.ScriptModule, path: Path, info: str) -> None:
    """Raises OSError if the file cannot be written."""
    # PyTorch itself would abort the program if it cannot write, for example on a full disk.
    content = io.BytesIO()
    with _undeprecated():
        torch.jit.save(script, content, _extra_files={METADATA_KEY: info.encode()})
    path.write_bytes(content.getbuffer())


def load(path: Path, device: torch.device) -> torch.jit.ScriptModule:
    """Raises WeightsError if the file is not TorchScript."""
    script = _load(path, device, {})
    _move_constants(script, device)
    return script


def _move_constants(script: torch.jit.ScriptModule, device: torch.device) -> None:
    """Move tensors created by the traced code, such as indices: they are created on the device of the trace, and
    loading moves only stored tensors."""
    for constant in device_constants(script):
        constant.s_("value", str(device))


def device_constants(script: torch.jit.ScriptModule) -> list:
    """The graph nodes that name a device, including those of submodules."""
    codes: list[Any] = [module._c for module in script.modules()]
    return [
        node
        for code in codes
        for method in code._method_names()
        for node in code._get_method(method).graph.findAllNodes("prim::Constant")
        if str(node.output().type()) == "Device"
    ]


def read_info(path: Path) -> str | None:
    extra = {METADATA_KEY: ""}
    _load(path, torch.device("cpu"), extra)
    text = extra[METADATA_KEY]
    return text.decode() if isinstance(text, bytes) else text


def _load(path: Path, device: torch.device, extra: dict) -> torch.jit.ScriptModule:
    try:
        with _undeprecated():
            return torch.jit.load(str(path), map_location=device, _extra_files=extra)
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"{path} is not a complete TorchScript file: export it again; a run's weights are its last.safetensors "
            f"and ema.safetensors ({reason})"
        ) from None


@contextlib.contextmanager
def _undeprecated() -> Iterator[None]:
    """Silence the deprecation of TorchScript: OpenVINO and PyTorch's C++ library support no replacement yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
