"""Fixtures shared by the tests of several packages."""

import cv2
import numpy as np
import pytest
import torch

from lsabinet_core.inference.network import Network
from lsabinet_core.labels import CAMVID
from lsabinet_core.models import create_model
from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.lsabinet import LSABiNet
from lsabinet_core.models.weights import WeightsMetadata, save_weights


def smooth_noise(seed: int, size: tuple[int, int]) -> np.ndarray:
    """A BGR image uint8 (H, W, 3) of coloured blobs with structure at several scales, determined by the seed."""
    rng = np.random.default_rng(seed)
    image = np.zeros((*size, 3), dtype=np.float32)
    for cells, weight in ((3, 0.5), (9, 0.3), (27, 0.2)):
        coarse = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        image += weight * cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return image.round().astype(np.uint8)


@pytest.fixture(scope="session")
def noise_image():
    """``smooth_noise``: (seed, (H, W)) -> BGR image."""
    return smooth_noise


@pytest.fixture
def openvino_defaults(monkeypatch):
    """Set the precision in which OpenVINO computes unless it is configured, such as ``f32``, as on other processors."""
    from lsabinet_core.inference.convert import openvino_

    core = openvino_.shared_core()

    class Core:
        def __init__(self, precision):
            self._precision = precision

        def compile_model(self, model, device, settings=None):
            defaults = {"INFERENCE_PRECISION_HINT": self._precision}
            return core.compile_model(model, device, {**defaults, **(settings or {})})

        def __getattr__(self, name):
            return getattr(core, name)

    return lambda precision: monkeypatch.setattr(openvino_, "shared_core", lambda: Core(precision))


METADATA = WeightsMetadata(
    architecture="lsabinet",
    label_set=CAMVID,
    input_size=(96, 128),
    mean=(0.41, 0.42, 0.43),
    std=(0.27, 0.28, 0.29),
    dataset="none",
    licence="none",
)


def look_trained(model: SegmentationNetwork) -> None:
    """Give an untrained network logits and masks like a trained one's: a few units wide, several classes per image.

    Its batch norms see images and its classifier is scaled.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    images = np.stack([smooth_noise(seed, (96, 128))[..., ::-1] for seed in range(8)])
    batch = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.25)
    with torch.no_grad():
        model.train()(batch)
        logits = model.eval()(batch)
        classifier = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)][-1]
        # Logits are centred per class, so that no class wins everywhere.
        classifier.bias.copy_(-logits.mean(dim=(0, 2, 3)))
        scale = 2 / logits.std(dim=(0, 2, 3)).mean()
        classifier.weight.mul_(scale)
        classifier.bias.mul_(scale)


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory):
    """A weights file of an untrained 11-class ``lsabinet`` for 96x128 input, which looks trained."""
    torch.manual_seed(7)
    model = create_model("lsabinet", 11)
    look_trained(model)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_weights(path, model, METADATA, dtype=torch.float32)
    return path


@pytest.fixture(scope="session")
def small_network():
    """The network of ``random_weights`` with three of its nine bottlenecks, and so with every operator, in memory only:
    it converts, loads and runs in half the time."""
    torch.manual_seed(7)
    model = create_model("lsabinet", 11)
    assert isinstance(model, LSABiNet)
    backbone = model.backbone
    backbone.block1, backbone.block2 = backbone.block1[:1], backbone.block2[::5]
    look_trained(model)
    return Network(model, METADATA, METADATA.input_size)


@pytest.fixture(scope="session", autouse=True)
def conversions_once():
    """Convert each LSA-BiNet once per process for the same settings, because every conversion takes seconds."""
    from lsabinet_core.inference.convert import onnx_, openvino_

    to_onnx, to_openvino, done = onnx_.convert, openvino_.convert, {}

    def onnx_once(network, size, **options):
        if "rewrite" in options or network.metadata.architecture != "lsabinet":
            return to_onnx(network, size, **options)
        key = ("onnx", network.fingerprint, size, *sorted(options.items()))
        if key not in done:
            done[key] = to_onnx(network, size, **options)
        return done[key]

    def openvino_once(network, size, **options):
        if network.metadata.architecture != "lsabinet":
            return to_openvino(network, size, **options)
        key = ("openvino", network.fingerprint, size, *sorted(options.items()))
        if key not in done:
            done[key] = to_openvino(network, size, **options)
        return done[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_, "convert", onnx_once)
        patch.setattr(openvino_, "convert", openvino_once)
        yield


@pytest.fixture
def one_thread():
    """PyTorch uses one thread during the test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
