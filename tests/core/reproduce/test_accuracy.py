"""Sources of a table's accuracy: weights, runs of a zoo, an ablation; and invalid sources."""

import json

import pytest

from lsabinet_core.errors import LsabinetError, TrainingError, WeightsError
from lsabinet_core.labels import CAMVID
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, save_weights
from lsabinet_core.reproduce import accuracy as trained


def write_weights(path, name="enet", dataset="camvid train", options=None, **training):
    model = create_model(name, 11, **(options or {}))
    metadata = WeightsMetadata(
        name, CAMVID, (96, 128), (0.5,) * 3, (0.25,) * 3, options or {}, dataset=dataset, training=training
    )
    save_weights(path, model, metadata)
    return str(path)


def write_run(folder, model, dataset="camvid", finished=True, miou=0.5):
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(f"model: {model}\nepochs: 2\n")
    (folder / "run.json").write_text(json.dumps({"dataset": dataset, "split": "train", "val_split": "val"}))
    val = {"miou": miou, "per_class_iou": {"Sky": 0.9, "Road": None}}
    records = [{"iteration": 6, "epoch": 1, "time": 1.0, "val": val}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if finished:
        (folder / "summary.json").write_text(json.dumps({"iterations": 12, "val_miou": miou}))


def test_weights_files(tmp_path):
    path = write_weights(tmp_path / "a.safetensors", val_miou=0.61, validated_on="camvid val", iterations=1200)
    (name, accuracy), *others = trained.of_weights([path], "camvid").items()
    assert (name, accuracy.miou, accuracy.origin, others) == ("enet", 0.61, "a.safetensors", [])
    assert accuracy.remark == "a.safetensors, camvid train -> camvid val, 96x128, 1,200 iterations"
    assert (accuracy.iterations, accuracy.miou_of) == (1200, None)
    assert trained.of_weights([], "camvid") == {}


def test_weights_trained_on_all_data(tmp_path):
    """Their mIoU was measured on the weights of another run, and their iterations are the sum of both rounds."""
    control = {"val_miou_of": "a run on train alone", "first_round": {"iterations": 300, "val_miou": 0.5}}
    path = write_weights(
        tmp_path / "a.safetensors", dataset="camvid trainval", val_miou=0.61, iterations=100, **control
    )
    accuracy = trained.of_weights([path], "camvid")["enet"]
    assert accuracy.remark == "a.safetensors, camvid trainval, validated on none, 96x128, 400 iterations"
    assert (accuracy.miou, accuracy.iterations) == (0.61, 400)
    assert "a run on train alone" in accuracy.miou_of


def test_unsuitable_weights_are_rejected(tmp_path):
    good = write_weights(tmp_path / "good.safetensors", val_miou=0.6)
    with pytest.raises(WeightsError, match="trained on cityscapes, got camvid train"):
        trained.of_weights([good], "cityscapes")
    # The name of a data set must match as a whole.
    foreign = write_weights(tmp_path / "foreign.safetensors", dataset="camvid-like train", val_miou=0.6)
    with pytest.raises(WeightsError, match="got camvid-like"):
        trained.of_weights([foreign], "camvid")
    silent = write_weights(tmp_path / "silent.safetensors")
    with pytest.raises(WeightsError, match="has no validation mIoU"):
        trained.of_weights([silent], "camvid")
    part = write_weights(tmp_path / "part.safetensors", "lsabinet", options={"rcad": False}, val_miou=0.6)
    with pytest.raises(WeightsError, match="expected a complete lsabinet, got one without rcad"):
        trained.of_weights([part], "camvid")
    with pytest.raises(WeightsError, match="duplicate weights of enet"):
        trained.of_weights([good, good], "camvid")


def test_only_shipped_weights_of_the_data_set_count(tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    for name, dataset in (("street", "synthetic train"), ("town", "camvid train")):
        write_weights(folder / f"{name}.safetensors", "dabnet", dataset=dataset, val_miou=0.7)
    monkeypatch.setattr("lsabinet_core.models.weights.share_directory", lambda: tmp_path)
    assert {name: found.origin for name, found in trained.of_shipped_weights("camvid").items()} == {"dabnet": "town"}
    assert trained.of_shipped_weights("cityscapes") == {}


@pytest.mark.parametrize("name", ["all", "whole"])
def test_validated_shipped_weights_take_precedence(tmp_path, monkeypatch, name):
    """Whatever the order of names, they precede weights whose mIoU was measured on another run."""
    folder = tmp_path / "weights"
    write_weights(folder / "town.safetensors", val_miou=0.7)
    write_weights(folder / f"{name}.safetensors", dataset="camvid trainval", val_miou=0.7, val_miou_of="another")
    monkeypatch.setattr("lsabinet_core.models.weights.share_directory", lambda: tmp_path)
    assert trained.of_shipped_weights("camvid")["enet"].origin == "town"


def test_accuracy_of_a_zoo(tmp_path):
    write_run(tmp_path / "enet_seed1", "enet", miou=0.41)
    write_run(tmp_path / "enet_seed2", "enet", miou=0.43)
    write_run(tmp_path / "enet_seed3", "enet", finished=False)
    write_run(tmp_path / "dabnet", "dabnet", miou=0.5)
    write_run(tmp_path / "cgnet", "cgnet", finished=False)
    write_run(tmp_path / "without", "lsabinet\nmodel_options: {lrfa: false}")
    found = trained.of_zoo(tmp_path, "camvid")
    assert {name: (accuracy.miou, accuracy.origin) for name, accuracy in found.items()} == {
        "enet": (pytest.approx(0.42), "2 runs"),
        "dabnet": (0.5, "run"),
        # An unfinished run has no result.
        "cgnet": (None, "in training"),
    }
    assert found["enet"].remark == "enet_seed1, enet_seed2, camvid train -> val, 12 iterations"
    assert found["enet"].per_class == {"Sky": pytest.approx(0.9), "Road": None}
    assert not found["cgnet"].per_class
    assert "6 of 12 iterations" in found["cgnet"].remark
    assert [found[name].iterations for name in ("enet", "dabnet", "cgnet")] == [12, 12, None]

    with pytest.raises(TrainingError, match="expected a run on cityscapes, got one on camvid"):
        trained.of_zoo(tmp_path, "cityscapes")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="holds no run"):
        trained.of_zoo(tmp_path / "empty", "camvid")


def test_accuracy_of_an_ablation(tmp_path):
    table = {"recipe": "camvid_cpu", "dataset": "camvid", "split": "train", "val_split": "val", "seeds": [1, 2]}
    rows = [{"variant": "baseline", "miou": 0.5}, {"variant": "lrfa", "miou": None}]
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**table, "rows": rows}))
    found = trained.of_ablation(tmp_path, "camvid")
    assert {name: (accuracy.miou, accuracy.origin) for name, accuracy in found.items()} == {
        "baseline": (0.5, "ablation"),
        "lrfa": (None, "in training"),
    }
    assert "recipe camvid_cpu, camvid train -> val, seeds 1, 2" in found["baseline"].remark
    path.write_text(json.dumps({**table, "dataset": "synthetic", "rows": rows}))
    with pytest.raises(TrainingError, match="expected an ablation on camvid, got one on synthetic"):
        trained.of_ablation(tmp_path, "camvid")
    path.write_text(json.dumps({**table, "rows": [{"variant": "base", "miou": 0.5}]}))
    with pytest.raises(TrainingError, match="got settings of a recipe"):
        trained.of_ablation(tmp_path, "camvid")
    path.write_text("{")
    with pytest.raises(TrainingError, match="expected the table of `lsabinet ablate`"):
        trained.of_ablation(tmp_path, "camvid")


def test_sources_for_other_tables_are_rejected(tmp_path):
    with pytest.raises(LsabinetError, match="table 4 takes --ablation"):
        trained.check_sources(4, weights=["a"], zoo=None, ablation=None)
    with pytest.raises(LsabinetError, match="--ablation is for table 4"):
        trained.check_sources(3, weights=[], zoo=None, ablation=tmp_path)
    trained.check_sources(4, weights=[], zoo=None, ablation=tmp_path)
    trained.check_sources(3, weights=["a"], zoo=tmp_path, ablation=None)
