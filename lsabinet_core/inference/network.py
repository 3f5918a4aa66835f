"""What a backend is asked to run."""

import dataclasses
import hashlib
import json
from functools import cached_property

from torch import nn

from lsabinet_core.models.weights import WeightsMetadata


@dataclasses.dataclass(frozen=True)
class Network:
    """A network in memory with what its weights file says.

    Attributes:
        model: left as it is by whoever runs it.
        metadata: its classes, training size and normalisation.
        size: (H, W) at which it will run mostly; engines that compare themselves do it there.
        any_size: whether other sizes may come as well, or instead.
    """

    model: nn.Module
    metadata: WeightsMetadata
    size: tuple[int, int]
    any_size: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all that the logits depend on: tensors, architecture, options, normalisation."""
        digest = hashlib.sha256()
        head = [self.metadata.architecture, self.metadata.options, self.metadata.mean, self.metadata.std]
        digest.update(json.dumps(head, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
