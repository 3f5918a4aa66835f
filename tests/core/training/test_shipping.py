"""The weights file that ships, from the runs behind it."""

import pytest
import torch

from lsabinet_core.labels import CAMVID
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, load_weights, save_weights
from lsabinet_core.training.shipping import ship


def write(path, seed, dataset, **training):
    torch.manual_seed(seed)
    metadata = WeightsMetadata("lsabinet", CAMVID, (72, 96), (0.5,) * 3, (0.2,) * 3, dataset=dataset, training=training)
    save_weights(path, create_model("lsabinet", len(CAMVID)), metadata)
    return path


def test_the_weights_of_one_run_with_the_figures_of_the_others(tmp_path):
    final = write(tmp_path / "final.safetensors", 1, "camvid trainval", seen_miou=0.8, iterations=990)
    others = [
        write(tmp_path / f"{miou}.safetensors", 2, "camvid train", val_miou=miou, iterations=900) for miou in (0.5, 0.7)
    ]
    assert ship(final, others, tmp_path / "shipped.safetensors") == pytest.approx(0.6)
    (network, metadata), (expected, _) = (load_weights(path) for path in (tmp_path / "shipped.safetensors", final))
    assert metadata.dataset == "camvid trainval"
    assert metadata.training == {
        "seen_miou": 0.8,
        "iterations": 990,
        "val_miou": pytest.approx(0.6),
        "val_miou_of": "the mean of 2 runs by the same recipe on camvid train alone",
    }
    assert all(torch.equal(tensor, expected.state_dict()[key]) for key, tensor in network.state_dict().items())
