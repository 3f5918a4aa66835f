"""Every network in every engine that runs on a CPU, and networks that an engine cannot run."""

import logging

import onnx
import pytest
import torch
from torch import nn
from zoo_networks import SIZE, check_close, patches, plain_logits, zoo_network

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import open_artefact
from lsabinet_core.inference.export import ExportSettings, export
from lsabinet_core.inference.network import Network
from lsabinet_core.models import list_models

ODD_SIZE = (76, 101)


@pytest.mark.parametrize("name", list_models())
def test_onnx(name, tmp_path, start):
    network = zoo_network(name)
    images = patches(2, ODD_SIZE, seed=1)
    expected = plain_logits(network, images)
    path = tmp_path / f"{name}.onnx"
    info = export(network, ExportSettings("onnx", ODD_SIZE), path)
    assert info.metadata.architecture == name
    # TensorRT supports neither unpooling nor max pooling with indices.
    nodes = onnx.load(path).graph.node
    assert not [
        node for node in nodes if node.op_type == "MaxUnpool" or (node.op_type == "MaxPool" and node.output[1:])
    ]
    check_close(network, start("onnxruntime", open_artefact(path)).infer(images), expected)


@pytest.mark.parametrize("name", list_models())
def test_openvino(name, start):
    """Converted from TorchScript, not from ONNX."""
    network = zoo_network(name)
    images = patches(2, SIZE, seed=2)
    check_close(network, start("openvino", network).infer(images), plain_logits(network, images))


class Unusual(nn.Module):
    """A network with an operator that only PyTorch has."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Conv2d(3, 4, 3, stride=8, padding=1)

    def low_resolution_logits(self, image: torch.Tensor) -> torch.Tensor:
        return self.classify(image).cummax(3)[0]


@pytest.fixture
def unusual():
    torch.manual_seed(5)
    metadata = zoo_network("enet").metadata
    return Network(Unusual().eval(), metadata, SIZE)


def test_missing_operator_is_named(unusual, tmp_path, start):
    # The metadata, and therefore the name, are ENet's.
    for name, form in (("onnx", "ONNX"), ("openvino", "an OpenVINO model")):
        said = f"'enet' cannot be converted to {form}, which has no operator for cummax; backends torch"
        path = tmp_path / ("network.onnx" if name == "onnx" else "network.xml")
        with pytest.raises(BackendError, match=said) as caught:
            export(unusual, ExportSettings(name, SIZE), path)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())
    images = patches(2, SIZE, seed=3)
    check_close(unusual, start("torch", unusual).infer(images), plain_logits(unusual, images))
    path = tmp_path / "network.pt"
    export(unusual, ExportSettings("torchscript", SIZE), path)
    check_close(unusual, start("torchscript", open_artefact(path)).infer(images), plain_logits(unusual, images))


def test_auto_logs_why_an_engine_is_skipped(unusual, start, caplog):
    with caplog.at_level(logging.WARNING):
        backend = start("auto", unusual)
    assert backend.name == "torch"
    assert "openvino failed (network 'enet' cannot be converted to an OpenVINO model, which has no" in caplog.text
    assert "cummax" in backend.describe()["chosen"]
