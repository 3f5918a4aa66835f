"""Fixtures of the bag tests; their bags are in ``bag_cases``."""

from pathlib import Path

import pytest
import torch
from bag_cases import SIZE

from lsabinet_core.errors import LsabinetError
from lsabinet_core.labels import CAMVID
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, save_weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """An untrained 11-class network for frames of 96x128."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    metadata = WeightsMetadata("lsabinet", CAMVID, SIZE, (0.4, 0.4, 0.4), (0.3, 0.3, 0.3), dataset="none")
    save_weights(path, create_model("lsabinet", 11), metadata)
    return path


@pytest.fixture
def error_of():
    """Call a function that must raise an LsabinetError, and return its message of one line."""

    def call(function, *args, **kwargs) -> str:
        with pytest.raises(LsabinetError) as caught:
            function(*args, **kwargs)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return call
