"""The ablation: its variants against the paper's table, and a whole one of short runs, cut and called again."""

import csv
import json
import math
import statistics

import pytest

from lsabinet_core.cli import main
from lsabinet_core.errors import RecipeError
from lsabinet_core.models.complexity import count_macs, count_parameters
from lsabinet_core.models.weights import read_metadata
from lsabinet_core.training.ablation import Cost, Row, Variant, module_variants, switch_variants, variant_recipes
from lsabinet_core.training.ablation_table import cells, columns
from lsabinet_core.training.campaign import RunRecord

# Modules: parameters for 11 classes, and as the paper prints them; counted by hand for the two that it does not print:
# LRFA is 44,035 and SVFM 680,911 of them, RCAD 361,342 in place of the head.
PARAMETERS = {
    "baseline": (754_571, "0.75", "20.9"),
    "lrfa": (798_606, "0.80", "3.50"),
    "svfm": (1_435_482, "1.44", "5.14"),
    "rcad": (1_115_913, "1.12", "7.15"),
    "lrfa+svfm": (1_479_517, "1.48", "5.15"),
    "lrfa+rcad": (754_571 + 44_035 + 361_342, "not printed", "not printed"),
    "svfm+rcad": (754_571 + 680_911 + 361_342, "not printed", "not printed"),
    "lrfa+svfm+rcad": (1_840_859, "1.84", "8.81"),
}
SHORT = [
    *("--recipe", "synthetic", "--set", "augmentation.crop_size=[64, 64]", "--set", "augmentation.scales=[1.0]"),
    *("--set", "batch_size=4", "--set", "schedule.warmup_iterations=1", "--set", "input_size=[72, 96]"),
    *("--set", "epochs=1", "--set", "precision=fp32", "--set", "compile=false"),
    *("--workers", "0", "--threads", "1", "--device", "cpu"),
]


@pytest.fixture(autouse=True, scope="module")
def only_what_is_tested_here():
    """Without the pictures of finished runs, and counting the operations of each network once: both take longer than
    these runs, and are tested elsewhere."""
    counted = {}

    def count_once(network, size):
        key = (count_parameters(network), size)
        if key not in counted:
            counted[key] = count_macs(network, size)
        return counted[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsabinet_core.cli.VERBS", ("ablate",))
        patch.setattr("lsabinet_core.training.run_pictures.write_pictures", lambda *_: None)
        patch.setattr("lsabinet_core.training.ablation.count_macs", count_once)
        yield


def run(root, out, *options: str) -> int:
    return main(["ablate", "--dataset", "camvid", "--root", str(root), "--out", str(out), *SHORT, *options])


@pytest.fixture(scope="module")
def finished(small_camvid, tmp_path_factory):
    """All eight combinations for two iterations each, cut by a Ctrl-C in the fourth run."""
    out = tmp_path_factory.mktemp("ablation")
    with pytest.MonkeyPatch.context() as patch:
        _interrupt_in_run(patch, 4)
        assert run(small_camvid, out) == 130
    before = sorted(path.parent.parent.name for path in out.glob("*/*/summary.json"))
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/*/summary.json")}
    assert run(small_camvid, out) == 0
    return out, before, stamps


def _interrupt_in_run(patch, number: int) -> None:
    from lsabinet_core.training import trainer

    starts = []
    fit = trainer.Trainer.fit

    def interrupted(self):
        starts.append(self)
        if len(starts) == number:
            self.run.record(iteration=1, loss=9.0, images_per_s=1.0)
            raise KeyboardInterrupt
        return fit(self)

    patch.setattr(trainer.Trainer, "fit", interrupted)


def test_all_eight_are_trained_and_finished_runs_are_passed_over(finished):
    out, before, stamps = finished
    assert before == ["baseline", "lrfa", "svfm"]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {path.parent.parent.name for path in out.glob("*/seed1/summary.json")} == set(PARAMETERS)
    # The run that was cut before its first checkpoint was started anew: its first records are gone.
    losses = [json.loads(line).get("loss") for line in (out / "rcad/seed1/metrics.jsonl").read_text().splitlines()]
    assert losses and 9.0 not in losses


def test_each_run_trained_its_own_network(finished):
    out, _, _ = finished
    for name in PARAMETERS:
        modules = set() if name == "baseline" else set(name.split("+"))
        metadata = read_metadata(out / name / "seed1" / "last.safetensors")
        assert {module for module, on in metadata.options.items() if on} == modules
        assert metadata.training["iterations"] == 2 and metadata.training["recipe"]["seed"] == 1


def test_the_table(finished):
    out, _, _ = finished
    table = json.loads((out / "table.json").read_text())
    assert [row["variant"] for row in table["rows"]] == list(PARAMETERS)
    base = table["rows"][0]
    for row in table["rows"]:
        summary = json.loads((out / row["variant"] / "seed1" / "summary.json").read_text())
        assert row["parameters"] == PARAMETERS[row["variant"]][0]
        assert row["miou"] == pytest.approx(summary["val_miou"])
        assert row["miou_spread"] is None
        assert row["miou_difference"] == pytest.approx(row["miou"] - base["miou"])
        assert row["runs"]["1"]["state"] == "finished"
        assert row["latency_ms"] > 0
    macs = {row["variant"]: row["gmacs"] for row in table["rows"]}
    # A module costs the same beside any other.
    assert macs["lrfa+svfm"] - macs["svfm"] == pytest.approx(macs["lrfa"] - macs["baseline"], abs=1e-5)
    assert macs["lrfa+rcad"] - macs["rcad"] == pytest.approx(macs["lrfa"] - macs["baseline"], abs=1e-5)

    with (out / "table.csv").open() as stream:
        flat = list(csv.DictReader(stream))
    assert [int(row["parameters"]) for row in flat] == [values[0] for values in PARAMETERS.values()]
    lines = [line for line in (out / "table.md").read_text().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 8
    header = [cell.strip() for cell in lines[0].strip("|").split("|")]
    for line, (parameters, paper_parameters, paper_macs) in zip(lines[2:], PARAMETERS.values(), strict=True):
        row = dict(zip(header, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        assert row["parameters"] == f"{parameters:,}"
        assert (row["paper, M"], row["paper, G"]) == (paper_parameters, paper_macs)


def test_called_again_it_only_prints_the_table(finished, small_camvid, capsys, monkeypatch):
    out, _, _ = finished
    before = (out / "table.json").read_text()
    monkeypatch.setattr("lsabinet_core.training.trainer.Trainer.fit", lambda self: pytest.fail("trained again"))
    monkeypatch.setattr("lsabinet_core.benchmark.networks.forward_latency", lambda *_, **__: pytest.fail("measured"))
    assert run(small_camvid, out) == 0
    assert (out / "table.json").read_text() == before
    printed = capsys.readouterr().out
    for parameters, *_ in PARAMETERS.values():
        assert f"{parameters:,}" in printed


def test_another_recipe_in_the_same_folder_is_refused(finished, small_camvid, capsys):
    out, _, _ = finished
    assert run(small_camvid, out, "--set", "optimizer.lr=0.5") == 1
    assert "was trained with optimizer" in capsys.readouterr().err


def test_switches_of_a_recipe(small_camvid, tmp_path):
    out = tmp_path / "switches"
    switches = ("--switch", "class_weights=false", "--switch", "augmentation.scales=[0.75, 1.0]", "ema_decay=0.5")
    assert run(small_camvid, out, *switches, "--seeds", "3,4", "--set", "model=espnet") == 0
    rows = json.loads((out / "table.json").read_text())["rows"]
    names = ["base", "class_weights=false", "augmentation.scales=_0.75_1.0_ema_decay=0.5"]
    assert [row["variant"] for row in rows] == names
    assert {row["parameters"] for row in rows} == {353_437}
    assert len({row["latency_ms"] for row in rows}) == 1
    for row in rows:
        mious = [run["val_miou"] for run in row["runs"].values()]
        assert row["miou"] == pytest.approx(statistics.fmean(mious))
        assert row["miou_spread"] == pytest.approx(abs(mious[0] - mious[1]) / math.sqrt(2))
        assert row["miou_difference"] == pytest.approx(row["miou"] - rows[0]["miou"])
        for seed in (3, 4):
            recipe = read_metadata(out / row["variant"] / f"seed{seed}" / "last.safetensors").training["recipe"]
            assert recipe["seed"] == seed
            assert recipe["class_weights"] is (row["variant"] != "class_weights=false")
            both = row["variant"] == names[2]
            assert (recipe["ema_decay"], recipe["augmentation"]["scales"] == [0.75, 1.0]) == (0.5 * both, both)
    assert "recipe as it is" in (out / "table.md").read_text()


def test_a_variant_that_fails_does_not_stop_the_others(small_camvid, tmp_path, capsys):
    out = tmp_path / "switches"
    switches = ("--switch", "optimizer.lr=1e30", "--switch", "boundary_weight=1")
    options = ("--set", "model=espnet", "--set", "max_skipped=1", "--set", "epochs=2")
    assert run(small_camvid, out, *switches, *options) == 1
    printed = capsys.readouterr()
    assert "lsabinet: error: optimizer.lr=1e30/seed1: loss or gradient was not finite" in printed.err
    assert printed.out.count("0/1, 1 failed") == 1 and printed.out.count("1/1") == 2
    rows = json.loads((out / "table.json").read_text())["rows"]
    assert [row["miou"] is None for row in rows] == [False, True, False]
    assert [row["failed"] for row in rows] == [0, 1, 0]
    assert "not finite" in rows[1]["errors"]["1"] and rows[0]["errors"] == {}


def test_figures_of_a_row_by_hand():
    def done(miou: float) -> RunRecord:
        return RunRecord("finished", val_miou=miou, val_miou_paper_rule=miou + 0.1)

    cost = Cost(1_840_859, 8.6551, 12.34)
    base = Row(Variant("base"), cost, {1: done(0.5), 2: done(0.6), 3: RunRecord("waiting")})
    other = Row(Variant("x", ("a=1",)), cost, {1: done(0.53), 2: RunRecord("unfinished", val_miou=0.1), 3: done(0.9)})
    assert base.mean == pytest.approx(0.55) and base.spread == pytest.approx(0.1 / math.sqrt(2))
    # Seed 3 has no run of the base to be compared with.
    assert other.difference(base) == pytest.approx(0.03)
    named = dict(zip(columns([base, other]), cells(other, base), strict=True))
    assert named == {
        "variant": "a=1",
        "val mIoU %": "71.50",
        "spread": "26.16",
        "difference": "+3.00",
        "mIoU %, paper's rule": "81.50",
        "runs": "2/3",
        "parameters": "1,840,859",
        "GMACs": "8.655",
        "latency ms": "12.3",
    }
    unlabelled = Row(Variant("z"), cost, {1: RunRecord("finished"), 2: done(0.4)}, {3: "it diverged"})
    assert (unlabelled.mean, unlabelled.spread) == (0.4, None) and cells(unlabelled, base)[5] == "2/2, 1 failed"
    empty = Row(Variant("y"), cost, {1: RunRecord("waiting")})
    assert (empty.mean, empty.spread, empty.difference(base)) == (None, None, None)


def test_wrong_wishes(tmp_path, small_camvid, capsys):
    with pytest.raises(RecipeError, match="has this value already"):
        variant_recipes("synthetic", ["epochs=3"], switch_variants([["epochs=3"]]), [1])
    with pytest.raises(RecipeError, match="unknown key 'epoch'"):
        variant_recipes("synthetic", [], switch_variants([["epoch=3"]]), [1])
    with pytest.raises(RecipeError, match="the recipe's model is dabnet"):
        variant_recipes("synthetic", ["model=dabnet"], module_variants(), [1])
    with pytest.raises(RecipeError, match="give each change once"):
        switch_variants([["seed=1"], ["seed=1"]])
    assert run(small_camvid, tmp_path, "--factors", "recipe") == 1
    assert "needs a --switch" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(small_camvid, tmp_path, "--seeds", "1,1")
    assert not list(tmp_path.iterdir())
