"""``lsabinet zoo train``: its plan and table by hand, and a small zoo, cut in its second network and called again."""

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
from lsabinet_core.training import campaign, trainer
from lsabinet_core.training.ablation import Cost
from lsabinet_core.training.campaign import PlannedRun, RunRecord
from lsabinet_core.training.recipe import Recipe, load_recipe
from lsabinet_core.training.zoo import Budget, Zoo, ZooRow, budget
from lsabinet_core.training.zoo_table import COLUMNS, cells, document

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "zoo.md"
NAMES = ["espnet_seed1", "ddrnet23_slim_seed1"]
SHORT = [
    *("--models", "ddrnet23_slim,espnet", "--budget", "3", "--set", "augmentation.crop_size=[64, 64]"),
    *("--set", "augmentation.scales=[1.0]", "--set", "batch_size=4", "--set", "input_size=[72, 96]"),
    *("--workers", "0", "--threads", "1", "--device", "cpu"),
]


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Without what a finished run draws, which takes longer than these runs; every iteration has a checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsabinet_core.cli.VERBS", ("zoo",))
        patch.setattr("lsabinet_core.training.run_pictures.write_pictures", lambda *_: None)
        patch.setattr(trainer, "LOG_ITERATIONS", 1)
        patch.setattr(trainer, "CHECKPOINT_SECONDS", -1)
        yield


def run(root, out, *options: str) -> int:
    return main(["zoo", "train", "--root", str(root), "--out", str(out), *SHORT, *options])


def table(out) -> dict[str, dict]:
    return {row["run"]: row for row in json.loads((out / "table.json").read_text())["rows"]}


@pytest.fixture(scope="module")
def cut(small_camvid, tmp_path_factory):
    """Time is up once the second network has a checkpoint."""
    out = tmp_path_factory.mktemp("zoo") / "out"
    late = out / NAMES[1] / "checkpoint.pt"
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + (1e6 if late.exists() else 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaign, "time", clock)
        assert run(small_camvid, out, "--seconds", "500") == 75
    return out


@pytest.fixture(scope="module")
def finished(cut, small_camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("zoo") / "again"
    shutil.copytree(cut, out)
    assert run(small_camvid, out) == 0
    return out


def test_a_slice_ends_at_a_checkpoint(cut):
    rows = table(cut)
    assert list(rows) == NAMES
    small, large = rows.values()
    assert (small["state"], small["iterations"]) == ("finished", 4)
    assert 0 <= small["val_miou"] <= small["val_miou_paper_rule"] and small["weights"] == "ema.safetensors"
    # The event after the first checkpoint is that of the second iteration.
    assert (large["state"], large["iterations"]) == ("unfinished", 2)
    assert large["val_miou"] is large["val_miou_paper_rule"] is large["weights"] is None


def test_the_next_call_goes_on(cut, finished):
    assert (cut / NAMES[0] / "metrics.jsonl").read_bytes() == (finished / NAMES[0] / "metrics.jsonl").read_bytes()
    lines = [(out / NAMES[1] / "metrics.jsonl").read_text().splitlines() for out in (cut, finished)]
    # The first iteration is not made again, the one behind the checkpoint is.
    assert lines[0][0] == lines[1][0] and len(lines[1]) == 4 + 1
    for name, row in table(finished).items():
        summary = json.loads((finished / name / "summary.json").read_text())
        assert (row["state"], row["iterations"], row["error"]) == ("finished", 4, None)
        assert row["val_miou"] == summary["val_miou"] and row["seconds"] == summary["seconds"]
        metadata = read_metadata(finished / name / row["weights"])
        assert metadata.architecture == row["model"] and metadata.training["val_miou"] == row["val_miou"]
        network = create_model(row["model"], 11)
        assert row["parameters"] == count_parameters(network)
        assert row["gmacs"] == pytest.approx(count_macs(network, (72, 96)) / 1e9, abs=1e-6)


def test_every_network_has_the_same_recipe_and_budget(finished):
    recipes = [read_metadata(finished / name / "last.safetensors").training["recipe"] for name in NAMES]
    models = [recipe.pop("model") for recipe in recipes]
    assert models == ["espnet", "ddrnet23_slim"] and recipes[0] == recipes[1]
    facts = json.loads((finished / "table.json").read_text())
    # Three iterations are one and a half epochs of eight images in batches of four.
    assert (facts["epochs"], facts["iterations"], facts["images"]) == (2, 4, 16)
    assert (facts["recipe"], facts["seeds"], facts["val_split"]) == ("zoo_cpu", [1], "val")


def test_the_table_as_text(finished, small_camvid, capsys, monkeypatch):
    monkeypatch.setattr("lsabinet_core.training.trainer.Trainer.fit", lambda self: pytest.fail("trained again"))
    before = (finished / "table.json").read_text()
    assert run(small_camvid, finished) == 0
    assert (finished / "table.json").read_text() == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["network", "espnet", "ddrnet23_slim"]
    rows = list(table(finished).values())
    for line, row in zip(lines[1:3], rows, strict=True):
        assert line.split()[:3] == [row["model"], "1", f"{100 * row['val_miou']:.2f}"]
        assert line.split()[4] == f"{row['parameters']:,}" and line.split()[-1] == "finished"
    text = (finished / "table.md").read_text()
    assert text.count("\n| ") == 3 and "4 iterations, 16 augmented crops of 64x64, 2 epochs of camvid train" in text
    with (finished / "table.csv").open() as stream:
        assert [float(row["val_miou"]) for row in csv.DictReader(stream)] == [row["val_miou"] for row in rows]


def test_another_recipe_is_refused_before_anything_is_trained(cut, small_camvid, capsys, monkeypatch):
    monkeypatch.setattr("lsabinet_core.training.trainer.Trainer.fit", lambda self: pytest.fail("trained"))
    before = (cut / "table.json").read_text()
    assert run(small_camvid, cut, "--models", "enet,espnet", "--budget", "9") == 1
    assert "espnet_seed1 was trained with epochs 2, not 5" in capsys.readouterr().err
    assert (cut / "table.json").read_text() == before and not (cut / "enet_seed1").exists()


def test_a_network_that_fails_does_not_keep_the_others(small_camvid, tmp_path, capsys):
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
    # What was wrong is mended: another call trains what is missing.
    assert run(small_camvid, tmp_path) == 0
    assert table(tmp_path)[NAMES[0]]["state"] == "finished"


def test_the_plan(small_camvid, monkeypatch):
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
    # Two iterations of four images in each epoch of eight.
    assert zoo.budget == Budget(base.epochs, 2 * base.epochs, 8 * base.epochs)
    with pytest.raises(ModelError, match="unknown model 'cgnet2': choose one of"):
        Zoo("zoo_cpu", [], ["cgnet2"], [1], *splits)
    monkeypatch.setattr("lsabinet_core.models.cgnet.CGNet.auxiliary_channels", ())
    with pytest.raises(RecipeError, match="CGNet has no auxiliary features: set auxiliary_weight to 0"):
        Zoo("zoo_cpu", ["auxiliary_weight=0.4"], ["lsabinet", "cgnet"], [1], *splits)


def test_the_budget_by_hand():
    recipe = Recipe(batch_size=8, epochs=3)
    # CamVid's train: 45 batches of 8, and 7 images are left out.
    assert budget(recipe, 367) == Budget(3, 135, 1080)
    assert budget(recipe, 367, 1) == budget(recipe, 367, 45) == Budget(1, 45, 360)
    assert budget(recipe, 367, 46) == Budget(2, 90, 720)


def test_a_row_by_hand():
    planned = PlannedRun("enet_seed2", Recipe(model="enet", seed=2), "camvid")
    done = RunRecord("finished", 135, 135, val_miou=0.25, val_miou_paper_rule=0.305, seconds=83.4, weights="w")
    cost = Cost(358_246, 1.3086, 0.0)
    named = dict(zip(COLUMNS, cells(ZooRow(planned, cost, done)), strict=True))
    assert named == {
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
    begun = ZooRow(planned, cost, RunRecord("unfinished", 90, val_miou=0.2, seconds=50.0))
    assert cells(begun)[2:4] == ["-", "-"] and cells(begun)[6:] == ["90", "50", "unfinished"]
    assert document([begun], {})["rows"][0]["val_miou"] is None
    failed = ZooRow(planned, cost, begun.record, error="lost")
    assert failed.state == "failed"
    assert cells(ZooRow(planned, cost, RunRecord("waiting")))[6:] == ["-", "-", "waiting"]


def test_a_failure_of_the_data_ends_the_zoo(small_camvid, tmp_path, capsys):
    root = tmp_path / "camvid"
    shutil.copytree(small_camvid, root)
    (root / "train" / "3.png").write_bytes(b"no picture")
    assert run(root, tmp_path / "out") == 1
    assert "3.png" in capsys.readouterr().err
    assert not (tmp_path / "out" / NAMES[1]).exists()


def test_the_document_shows_this_commands_table():
    shown = re.search(r"<!-- table:begin -->\n(.*?)<!-- table:end -->", DOCUMENT.read_text(), re.DOTALL).group(1)
    header, _, *lines = [line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("|")]
    assert tuple(header) == COLUMNS
    rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines]
    assert {row["network"] for row in rows} == set(list_models())
    gmacs = [float(row["GMACs"]) for row in rows]
    assert gmacs == sorted(gmacs)
    whole = str(budget(load_recipe("zoo_cpu"), 367).iterations)
    assert all(row["iterations"] == whole for row in rows if row["state"] == "finished")
