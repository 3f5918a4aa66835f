"""Engines of these tests are kept in a folder of their own, and built once for all of them."""

import numpy as np
import pytest

from lsabinet_core.inference.backends import create_backend
from lsabinet_core.inference.network import Network
from lsabinet_core.models.weights import load_weights


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(engine_cache, monkeypatch):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(engine_cache))


@pytest.fixture(scope="session")
def network(random_weights):
    """An untrained 11-class network for 96x128."""
    model, metadata = load_weights(random_weights)
    return Network(model, metadata, metadata.input_size)


@pytest.fixture(scope="session")
def images(noise_image):
    """uint8 (3, 96, 128, 3)."""
    return np.stack([noise_image(seed, (96, 128)) for seed in range(3)])


@pytest.fixture(scope="session")
def plain(network):
    """The network by plain torch code, without its deployed form: images uint8 (N, H, W, 3) -> logits (N, C, h, w)."""
    import torch

    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (network.metadata.mean, network.metadata.std))

    @torch.no_grad()
    def run(images: np.ndarray) -> torch.Tensor:
        rgb = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
        return network.model.low_resolution_logits((rgb - mean) / std)

    return run


@pytest.fixture
def start():
    """A loaded backend by name and network or artefact; closed at the end."""
    backends = []

    def run(name, source, **options):
        backend = create_backend(name, **{"device": "cpu", **options})
        backends.append(backend)
        backend.load(source)
        return backend

    yield run
    for backend in backends:
        backend.close()
