"""What to say where a format cannot hold a network."""

import contextlib
import re
from collections.abc import Iterator

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.network import Network

# As torch.onnx and OpenVINO name what they lack: "No ONNX function found for <OpOverload(op='aten.cummax', ...".
_LACKING = re.compile(r"No (?:ONNX function|conversion rule) found for (.+)")
_OPERATOR = re.compile(r"\b(?:aten|prims)(?:::|\.)(\w+)")


@contextlib.contextmanager
def refusing(network: Network, form: str) -> Iterator[None]:
    """Raises BackendError for what a converter raises in the block: one line with the network and what it lacks."""
    try:
        yield
    except Exception as error:
        lacking = dict.fromkeys(_OPERATOR.findall(" ".join(_LACKING.findall(str(error)))))
        if lacking:
            reason = f"which has no operator for {' and '.join(lacking)}"
        else:
            reason = f"whose converter says: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        raise BackendError(
            f"network {network.metadata.architecture!r} cannot become {form}, {reason}; backends torch, torch-compile "
            "and cuda-graph run every network"
        ) from error
