"""Fixtures of the inference tests, whose engines share one cache folder, so that each is built only once."""

import numpy as np
import pytest
from auto_engines import CLOCK, Converted, Engine, load

from lsabinet_core.errors import BackendError
from lsabinet_core.inference import backends
from lsabinet_core.inference.backends import create_backend
from lsabinet_core.inference.backends.engines import candidates


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(engine_cache, monkeypatch):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(engine_cache))


@pytest.fixture(scope="session")
def network(small_network):
    """An untrained 11-class network for 96x128."""
    return small_network


@pytest.fixture(scope="session")
def images(noise_image):
    """uint8 (3, 96, 128, 3)."""
    return np.stack([noise_image(seed, (96, 128)) for seed in range(3)])


@pytest.fixture(scope="session")
def plain(network):
    """The original network in PyTorch, without the deployed form: images uint8 (N, H, W, 3) -> logits (N, C, h, w)."""
    import torch

    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (network.metadata.mean, network.metadata.std))

    @torch.no_grad()
    def run(images: np.ndarray) -> torch.Tensor:
        rgb = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
        return network.model.low_resolution_logits((rgb - mean) / std)

    return run


@pytest.fixture
def start():
    """Create a backend by name and load a network or exported model; the backend is closed at the end."""
    backends = []

    def run(name, source, **options):
        backend = create_backend(name, **{"device": "cpu", **options})
        backends.append(backend)
        backend.load(source)
        return backend

    yield run
    for backend in backends:
        backend.close()


@pytest.fixture
def auto_alone(tmp_path, monkeypatch):
    """``backend="auto"`` with nothing built or cached, which compares in a single round."""
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("lsabinet_core.inference.backends.trial.WARM_UP_RUNS", 0)
    monkeypatch.setattr("lsabinet_core.inference.backends.trial.ROUNDS", 1)


@pytest.fixture
def engines(auto_alone, monkeypatch):
    """(settings, started) on a processor without bf16: the settings of the stand-in engines by name ("NAME bf16" for
    bf16), and the names of the started engines, in order."""
    settings = {name: BackendError("not in this test") for name in candidates("cpu")}
    settings |= {"openvino": {}, "onnxruntime": {"seconds": 0.02}, "torch": {"seconds": 0.1}}
    started = []

    def create(name, *, device, precision, threads):
        started.append(name)
        key = f"{name} {precision}"
        setting = settings.get(key, settings[name])
        if isinstance(setting, Exception):
            raise setting
        return Engine(name, device=device, precision=precision, **setting)

    monkeypatch.setattr(backends, "create_backend", create)
    monkeypatch.setattr("lsabinet_core.inference.backends.auto.computes_in_bf16", lambda device: False)
    monkeypatch.setattr("lsabinet_core.inference.backends.trial.time", CLOCK)
    return settings, started


@pytest.fixture
def converted(engines, network, monkeypatch):
    """A backend whose engine must be converted for each size, and that engine."""
    create = backends.create_backend

    def convert_openvino(name, **options):
        if name != "openvino":
            return create(name, **options)
        return Converted(options["device"], options["precision"])

    monkeypatch.setattr(backends, "create_backend", convert_openvino)
    backend = load(network)
    engine = backend._backend
    assert backend.name == "openvino"
    engine.ran.clear()
    engine.may_build.clear()
    yield backend, engine
    backend.close()
