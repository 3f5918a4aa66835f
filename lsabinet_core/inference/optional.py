"""Imports of optional packages."""

import importlib
import os
import sys
from types import ModuleType

from lsabinet_core.errors import BackendError

# module -> requirement that installs it
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
        BackendError: the package is not installed or does not load here; the message says what to install.
    """
    # These packages send telemetry, the first two even on import, which is unacceptable in a vehicle.
    if name in ("openvino", "nncf"):
        # None in sys.modules prevents the import of a module.
        sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    if name == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise BackendError(f"{purpose} needs {name}, whose own requirements are not met: {error}") from None
        raise BackendError(
            f"{purpose} needs the package {name}, which is not installed: pip install '{_INSTALL[name]}'"
        ) from None
    except (ImportError, OSError) as error:
        # The package may be built for another system, or a system library may be missing.
        raise BackendError(f"{purpose} needs {name}, which does not load here: {error}") from None
