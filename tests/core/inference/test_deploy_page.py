"""The programs of docs/deploy_without_lsabinet.md, run unchanged."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.export import ExportSettings, export
from lsabinet_core.inference.postprocess import masks_from_logits
from lsabinet_core.inference.preprocess import stack_frames

PAGE = Path(__file__).resolve().parents[3] / "docs" / "deploy_without_lsabinet.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def block(*words):
    """The only program of the page that contains all of these words."""
    (found,) = [text for text in BLOCKS if all(word in text for word in words)]
    return found


@pytest.fixture(scope="module")
def folder(network, noise_image, tmp_path_factory, engine_cache):
    """The files that the page's commands write, and a camera frame."""
    path = tmp_path_factory.mktemp("deployed")
    for name, file, output in (
        ("onnx", "network.onnx", "mask"),
        ("openvino", "network.xml", "mask"),
        ("torchscript", "network.pt", "mask"),
        ("onnx", "logits.onnx", "logits"),
    ):
        export(network, ExportSettings(name, (96, 128), output=output), path / file)
    cv2.imwrite(str(path / "frame.png"), noise_image(3, (240, 320)))
    return path


@pytest.fixture
def run(folder, monkeypatch):
    def execute(text):
        monkeypatch.chdir(folder)
        names = {}
        exec(compile(text, str(PAGE), "exec"), names)
        return names

    return execute


def test_every_program_of_the_page_is_tested():
    assert len(BLOCKS) == 5
    assert not [text for text in BLOCKS if "lsabinet_core" in text]


@pytest.mark.parametrize(
    "words", [('"network.onnx"', "session.run"), ('"network.xml"', "compile_model"), ('"network.pt"', "torch.jit.load")]
)
def test_masks(words, run, folder, plain):
    frame = cv2.imread(str(folder / "frame.png"))
    mask = run(block(*words))["mask"]
    assert mask.shape == frame.shape[:2]
    assert mask.dtype == np.uint8
    image = stack_frames([frame], (96, 128))
    expected = masks_from_logits(plain(image), (96, 128), confidence=False)[0][0]
    expected = cv2.resize(expected, frame.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    assert len(np.unique(expected)) > 2
    assert (mask == expected).mean() > 0.999


def test_logits(run, folder, network):
    found = run(block('"logits.onnx"'))
    options = {"device": "cpu", "backend": "torch", "input_size": (96, 128)}
    with Segmenter(network.model, network.metadata, **options) as segmenter:
        expected = segmenter.segment(cv2.imread(str(folder / "frame.png")))
    assert found["mask"].dtype == np.uint8
    assert (found["mask"] == expected.mask).mean() > 0.999
    assert np.abs(255 * found["confidence"] - expected.confidence).mean() < 1


def test_classes_and_colours(run, network):
    found = run(block("get_modelmeta", "get_rt_info"))
    labels = network.metadata.label_set
    assert tuple(found["names"]) == labels.names
    assert tuple(map(tuple, found["colors"])) == labels.colors
    for document in (found["of_onnx"], found["of_openvino"]):
        assert document["size"] == [96, 128]
        assert document["output"] == "mask"
        assert document["precision"] == "fp32"
        assert document["metadata"]["label_set"]["names"] == list(labels.names)
