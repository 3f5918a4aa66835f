"""``lsabinet zoo train``: plan and table against hand-computed values, and a small interrupted zoo that continues."""

import csv
import json
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from lsabinet_core.cli import main
from lsabinet_core.data import open_dataset
from lsabinet_core.errors import ModelError, RecipeError, TrainingError
from lsabinet_core.models import create_model, list_models
from lsabinet_core.models.complexity import count_macs, count_parameters
from lsabinet_core.models.weights import read_metadata
from lsabinet_core.training import trainer
from lsabinet_core.training.recipe import Recipe, load_recipe
from lsabinet_core.training.zoo import COLUMNS, Zoo, budget

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "zoo.md"
NAMES = ["espnet_seed1", "ddrnet23_slim_seed1"]
SHORT = [
    *("--models", "ddrnet23_slim,espnet", "--budget", "3", "--set", "augmentation.crop_size=[64, 64]"),
    *("--set", "augmentation.scales=[1.0]", "--set", "batch_size=4", "--set", "input_size=[72, 96]"),
    *("--workers", "0", "--threads", "1", "--device", "cpu"),
]


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Skip the pictures of finished runs, which take longer than these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsabinet_core.cli.VERBS", ("zoo",))
        patch.setattr("lsabinet_core.training.run_pictures.write_pictures", lambda *_: None)
        patch.setattr(trainer, "LOG_ITERATIONS", 1)
        yield


def run(root, out, *options: str) -> int:
    return main(["zoo", "train", "--root", str(root), "--out", str(out), *SHORT, *options])


def table(out) -> dict[str, dict]:
    return {row["run"]: row for row in json.loads((out / "table.json").read_text())["rows"]}


@pytest.fixture(scope="module")
def cut(small_camvid, tmp_path_factory):
    """A zoo whose deadline passes after the first iteration of the second network."""
    out = tmp_path_factory.mktemp("zoo") / "out"
    late = out / NAMES[1] / "metrics.jsonl"
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + (1e6 if late.exists() else 0), time=time.time)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "time", clock)
        assert run(small_camvid, out, "--seconds", "5000") == 0
    return out


@pytest.fixture(scope="module")
def finished(cut, small_camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("zoo") / "again"
    shutil.copytree(cut, out)
    assert run(small_camvid, out) == 0
    return out


def test_deadline_stops_the_zoo_with_a_checkpoint(cut):
    rows = table(cut)
    assert list(rows) == NAMES
    small, large = rows.values()
    assert (small["state"], small["iterations"]) == ("finished", 4)
    assert 0 <= small["val_miou"] <= small["val_miou_paper_rule"]
    assert small["weights"] == "ema.safetensors"
    assert (large["state"], large["iterations"]) == ("unfinished", 1)
    assert (cut / NAMES[1] / "checkpoint.pt").exists()
    assert large["val_miou"] is large["val_miou_paper_rule"] is large["weights"] is None


def test_interrupted_zoo_continues(cut, finished):
    assert (cut / NAMES[0] / "metrics.jsonl").read_bytes() == (finished / NAMES[0] / "metrics.jsonl").read_bytes()
    lines = [(out / NAMES[1] / "metrics.jsonl").read_text().splitlines() for out in (cut, finished)]
    # The first iteration is not repeated.
    assert lines[0][0] == lines[1][0]
    assert len(lines[1]) == 4 + 1
    for name, row in table(finished).items():
        summary = json.loads((finished / name / "summary.json").read_text())
        assert (row["state"], row["iterations"], row["error"]) == ("finished", 4, None)
        assert row["val_miou"] == summary["val_miou"]
        assert row["seconds"] == summary["seconds"]
        metadata = read_metadata(finished / name / row["weights"])
        assert metadata.architecture == row["model"]
        assert metadata.training["val_miou"] == row["val_miou"]
        network = create_model(row["model"], 11)
        assert row["parameters"] == count_parameters(network)
        assert row["gmacs"] == pytest.approx(count_macs(network, (72, 96)) / 1e9, abs=1e-6)


def test_every_network_has_the_same_recipe_and_budget(finished):
    recipes = [read_metadata(finished / name / "last.safetensors").training["recipe"] for name in NAMES]
    models = [recipe.pop("model") for recipe in recipes]
    assert models == ["espnet", "ddrnet23_slim"]
    assert recipes[0] == recipes[1]
    facts = json.loads((finished / "table.json").read_text())
    # Three iterations are one and a half epochs of eight images in batches of four, rounded up to two epochs.
    assert (facts["epochs"], facts["iterations"], facts["images"]) == (2, 4, 16)
    assert (facts["recipe"], facts["seeds"], facts["val_split"]) == ("zoo_cpu", [1], "val")


def test_text_of_the_table(finished, small_camvid, capsys, monkeypatch):
    monkeypatch.setattr("lsabinet_core.training.trainer.Trainer.fit", lambda self: pytest.fail("trained again"))
    before = (finished / "table.json").read_text()
    assert run(small_camvid, finished) == 0
    assert (finished / "table.json").read_text() == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["network", "espnet", "ddrnet23_slim"]
    rows = list(table(finished).values())
    for line, row in zip(lines[1:3], rows, strict=True):
        assert line.split()[:3] == [row["model"], "1", f"{100 * row['val_miou']:.2f}"]
        assert line.split()[4] == f"{row['parameters']:,}"
        assert line.split()[-1] == "finished"
    text = (finished / "table.md").read_text()
    assert text.count("\n| ") == 3
    assert "4 iterations, 16 augmented crops of 64x64, 2 epochs of camvid train" in text
    with (finished / "table.csv").open() as stream:
        assert [float(row["val_miou"]) for row in csv.DictReader(stream)] == [row["val_miou"] for row in rows]


def test_changed_recipe_is_rejected_before_training(cut, small_camvid, capsys, monkeypatch):
    monkeypatch.setattr("lsabinet_core.training.trainer.Trainer.fit", lambda self: pytest.fail("trained"))
    before = (cut / "table.json").read_text()
    assert run(small_camvid, cut, "--models", "enet,espnet", "--budget", "9") == 1
    assert "espnet_seed1 was trained with epochs 2, not 5" in capsys.readouterr().err
    assert (cut / "table.json").read_text() == before
    assert not (cut / "enet_seed1").exists()


def test_failed_network_does_not_stop_the_others(small_camvid, tmp_path, capsys):
    fit = trainer.Trainer.fit

    def fail_at_espnet(self):
        if self.recipe.model == "espnet":
            raise TrainingError("loss was not finite")
        return fit(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "fit", fail_at_espnet)
        assert run(small_camvid, tmp_path) == 1
    small, large = table(tmp_path).values()
    assert (small["state"], small["val_miou"], small["error"]) == ("failed", None, "loss was not finite")
    assert (large["state"], large["error"]) == ("finished", None)
    assert f"lsabinet: error: {NAMES[0]}: loss was not finite\n" in capsys.readouterr().err
    # Once the cause is fixed, another call trains what is missing.
    assert run(small_camvid, tmp_path) == 0
    assert table(tmp_path)[NAMES[0]]["state"] == "finished"


def test_plan_of_a_zoo(small_camvid, monkeypatch):
    splits = [open_dataset("camvid", small_camvid, name) for name in ("train", "val")]
    zoo = Zoo("zoo_cpu", ["batch_size=4"], ["segnet", "lsabinet", "enet"], [7, 8], *splits)
    assert [planned.name for planned in zoo.runs] == [
        *("enet_seed7", "lsabinet_seed7", "segnet_seed7", "enet_seed8", "lsabinet_seed8", "segnet_seed8")
    ]
    base = load_recipe("zoo_cpu", ["batch_size=4"])
    for planned in zoo.runs:
        model, seed = planned.name.split("_seed")
        assert planned.recipe == base.model_copy(update={"model": model, "seed": int(seed)})
        assert planned.facts == {"dataset": "camvid", "split": "train", "val_split": "val"}
    # Two iterations of four images in each epoch of eight images.
    assert zoo.budget == {"epochs": base.epochs, "iterations": 2 * base.epochs, "images": 8 * base.epochs}
    with pytest.raises(ModelError, match="unknown model 'cgnet2': choose one of"):
        Zoo("zoo_cpu", [], ["cgnet2"], [1], *splits)
    monkeypatch.setattr("lsabinet_core.models.cgnet.CGNet.auxiliary_channels", ())
    with pytest.raises(RecipeError, match="CGNet has no auxiliary features: set auxiliary_weight to 0"):
        Zoo("zoo_cpu", ["auxiliary_weight=0.4"], ["lsabinet", "cgnet"], [1], *splits)


def test_budget_matches_hand_computed_values():
    recipe = Recipe(batch_size=8, epochs=3)

    def figures(*images_and_iterations):
        return tuple(budget(recipe, *images_and_iterations).values())

    # CamVid's train split: 45 batches of 8; 7 images are dropped.
    assert figures(367) == (3, 135, 1080)
    assert figures(367, 1) == figures(367, 45) == (1, 45, 360)
    assert figures(367, 46) == (2, 90, 720)


def test_row_shows_hand_computed_values():
    row = {
        **{"run": "enet_seed2", "model": "enet", "seed": 2, "state": "finished", "iterations": 135, "seconds": 83.4},
        **{"val_miou": 0.25, "val_miou_paper_rule": 0.305, "parameters": 358_246, "gmacs": 1.3086},
    }
    assert {header: cell(row) for header, cell in COLUMNS.items()} == {
        "network": "enet",
        "seed": "2",
        "val mIoU %": "25.00",
        "mIoU %, paper's rule": "30.50",
        "parameters": "358,246",
        "GMACs": "1.309",
        "iterations": "135",
        "seconds": "83",
        "state": "finished",
    }
    waiting = {**row, "iterations": 0, "seconds": None, "val_miou": None, "state": "waiting"}
    assert [COLUMNS[header](waiting) for header in ("iterations", "seconds", "val mIoU %")] == ["-", "-", "-"]


def test_data_set_error_ends_the_zoo(small_camvid, tmp_path, capsys):
    root = tmp_path / "camvid"
    shutil.copytree(small_camvid, root)
    (root / "train" / "3.png").write_bytes(b"no picture")
    assert run(root, tmp_path / "out") == 1
    assert "3.png" in capsys.readouterr().err
    assert not (tmp_path / "out" / NAMES[1]).exists()


def test_document_shows_the_table_of_this_command():
    shown = re.search(r"<!-- table:begin -->\n(.*?)<!-- table:end -->", DOCUMENT.read_text(), re.DOTALL).group(1)
    header, _, *lines = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("|")]
    assert header == list(COLUMNS)
    rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines]
    assert {row["network"] for row in rows} == set(list_models())
    gmacs = [float(row["GMACs"]) for row in rows]
    assert gmacs == sorted(gmacs)
    whole = str(budget(load_recipe("zoo_cpu"), 367)["iterations"])
    assert all(row["iterations"] == whole for row in rows if row["state"] == "finished")
