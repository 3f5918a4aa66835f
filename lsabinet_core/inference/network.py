"""The network that a backend runs."""

import dataclasses
import hashlib
import json
from functools import cached_property

from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.weights import WeightsMetadata


@dataclasses.dataclass(frozen=True)
class Network:
    """A network in memory with the metadata of its weights file.

    Attributes:
        model: the network; engines do not modify it.
        metadata: classes, training size and normalisation.
        size: (H, W) at which it will mostly run, and at which ``auto`` compares the engines.
        any_size: whether it may also, or only, run at other sizes.
    """

    model: SegmentationNetwork
    metadata: WeightsMetadata
    size: tuple[int, int]
    any_size: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that determines the logits: tensors, architecture, options, normalisation."""
        digest = hashlib.sha256()
        head = [self.metadata.architecture, self.metadata.options, self.metadata.mean, self.metadata.std]
        digest.update(json.dumps(head, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
