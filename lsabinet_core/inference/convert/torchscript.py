"""TorchScript: for PyTorch's C++ library."""

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import nn

from lsabinet_core.errors import WeightsError
from lsabinet_core.inference.artefact import METADATA_KEY


def trace(network: nn.Module, batch: int, size: tuple[int, int]) -> torch.jit.ScriptModule:
    """The deployed network as it runs on one size; the number of images stays free."""
    device = next(network.buffers()).device
    images = torch.zeros(batch, *size, 3, dtype=torch.uint8, device=device)
    with _undeprecated(), torch.no_grad():
        # The size is meant to become a constant.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.jit.trace(network.eval(), images, check_trace=False)


def save(script: torch.jit.ScriptModule, path: Path, info: str) -> None:
    """Raises OSError where the file cannot be written."""
    # PyTorch ends the program where it cannot write, on a full disk say; Python does not.
    content = io.BytesIO()
    with _undeprecated():
        torch.jit.save(script, content, _extra_files={METADATA_KEY: info.encode()})
    path.write_bytes(content.getbuffer())


def load(path: Path, device: torch.device) -> torch.jit.ScriptModule:
    """Raises WeightsError where the file is no TorchScript."""
    script = _load(path, device, {})
    _move_constants(script, device)
    return script


def _move_constants(script: torch.jit.ScriptModule, device: torch.device) -> None:
    """What a trace makes on its way, such as indices, has the device of the tracing; loading moves tensors only."""
    for constant in device_constants(script):
        constant.s_("value", str(device))


def device_constants(script: torch.jit.ScriptModule) -> list:
    """The nodes of the code, the parts' included, that name a device."""
    return [
        node
        for module in script.modules()
        for method in module._c._method_names()
        for node in module._c._get_method(method).graph.findAllNodes("prim::Constant")
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
            f"{path} is not a whole TorchScript file: export it again; the weights of a run are its last.safetensors "
            f"and ema.safetensors ({reason})"
        ) from None


@contextlib.contextmanager
def _undeprecated():
    """TorchScript is deprecated, and without a replacement that OpenVINO and PyTorch's C++ library read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
