"""The error for a network that cannot be converted to a format."""

import contextlib
import re
from collections.abc import Iterator

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.network import Network

# How torch.onnx and OpenVINO report a missing operator: "No ONNX function found for <OpOverload(op='aten.cummax', ...".
_LACKING = re.compile(r"No (?:ONNX function|conversion rule) found for (.+)")
_OPERATOR = re.compile(r"\b(?:aten|prims)(?:::|\.)(\w+)")


@contextlib.contextmanager
def refusing(network: Network, form: str) -> Iterator[None]:
    """Convert an error of a converter to a BackendError: one line with the network and the missing operator."""
    try:
        yield
    except Exception as error:
        lacking = dict.fromkeys(_OPERATOR.findall(" ".join(_LACKING.findall(str(error)))))
        if lacking:
            reason = f"which has no operator for {' and '.join(lacking)}"
        else:
            cause = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            reason = f"whose converter reports: {(str(cause).strip().splitlines() or [type(cause).__name__])[0]}"
        raise BackendError(
            f"network {network.metadata.architecture!r} cannot be converted to {form}, {reason}; backends torch, "
            "torch-compile and cuda-graph run every network"
        ) from error
