"""Engines that need not be installed."""

import importlib
import os
import sys
from types import ModuleType

from lsabinet_core.errors import BackendError

# module -> what a user installs to have it.
_INSTALL = {
    "onnx": "lsabinet_ros[onnx]",
    "onnxscript": "lsabinet_ros[onnx]",
    "onnxruntime": "lsabinet_ros[onnx]",
    "openvino": "lsabinet_ros[openvino]",
    "nncf": "lsabinet_ros[openvino]",
    "tensorrt": "tensorrt",
}


def require(name: str, purpose: str) -> ModuleType:
    """Import an optional package.

    Raises:
        BackendError: it is not installed, or does not load here; says what to install.
    """
    # These report their use over the network, the first two as soon as they are imported. A vehicle must not call home.
    if name in ("openvino", "nncf"):
        sys.modules.setdefault("openvino_telemetry", None)
    if name == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise BackendError(f"{purpose} needs {name}, whose own needs are not met: {error}") from None
        raise BackendError(
            f"{purpose} needs the package {name}, which is not installed: pip install '{_INSTALL[name]}'"
        ) from None
    except (ImportError, OSError) as error:
        # A library that was built for another system, or lacks one of the system's own.
        raise BackendError(f"{purpose} needs {name}, which does not load here: {error}") from None
