"""Averages of weights: the mean of each tensor, their metadata, and the weights that cannot be averaged."""

import pytest
import torch
from test_weights import metadata

from lsabinet_core.errors import WeightsError
from lsabinet_core.labels import CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.averaged_weights import average_weights
from lsabinet_core.models.weights import load_weights, save_weights, total_iterations


@pytest.fixture
def save(tmp_path):
    def save(name, seed=0, change=0.0, batches=0, **changes):
        """A network whose tensors are those of ``seed``, each with ``change`` added."""
        torch.manual_seed(seed)
        values = {"architecture": "espnet", "options": {}, **changes}
        model = create_model(values["architecture"], len(metadata(**values).label_set), **values["options"])
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor += change if tensor.is_floating_point() else batches
        save_weights(path := tmp_path / f"{name}.safetensors", model, metadata(**values), torch.float32)
        return str(path)

    return save


def test_every_tensor_is_the_mean(save):
    files = [save("a", batches=10), save("b", change=0.003, batches=13), save("c", change=0.006, batches=16)]
    average, _ = average_weights(files)
    (middle, _), found = load_weights(files[1]), average.state_dict()
    for key, expected in middle.state_dict().items():
        torch.testing.assert_close(found[key], expected, rtol=0, atol=1e-6)
    assert not average.training


def test_the_metadata_name_all_runs(save):
    files = [
        save("a", dataset="camvid train", licence="NC", training={"iterations": 10, "val_miou": 0.5}),
        save("b", dataset="camvid train", licence="free", training={"iterations": 5, "first_round": {"iterations": 7}}),
    ]
    _, found = average_weights(files)
    assert (found.dataset, found.licence, found.is_non_commercial) == ("camvid train", "NC + free", True)
    assert [run["file"] for run in found.training["average_of"]] == files
    assert found.training["average_of"][0]["val_miou"] == 0.5
    assert "val_miou" not in found.training
    assert total_iterations(found.training) == 22
    assert total_iterations({**found.training, "first_round": {"iterations": 100}}) == 122
    assert total_iterations({"iterations": 1, "first_round": {"iterations": 2, "first_round": found.training}}) == 25
    assert total_iterations({"average_of": [{"iterations": 10}, {}]}) is None


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"architecture": "enet"}, ["network", "enet", "espnet"]),
        ({"label_set": CITYSCAPES}, ["classes"]),
        ({"mean": (0.1, 0.1, 0.1)}, ["normalisation", "0.1"]),
        ({"seed": 1}, ["began from the same"]),
    ],
)
def test_weights_that_do_not_fit_are_refused(save, second, words):
    with pytest.raises(WeightsError) as caught:
        average_weights([save("a"), save("b", **second)])
    assert [word for word in ["b.safetensors", *words] if word not in str(caught.value)] == []


def test_one_file_is_not_averaged(save):
    with pytest.raises(WeightsError, match="two"):
        average_weights([save("a")])
