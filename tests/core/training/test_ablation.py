"""The ablation: its variants against the paper's table, and a complete ablation of short runs that is interrupted."""

import csv
import json
import math
import statistics

import pytest
import torch

from lsabinet_core.cli import ablate, main
from lsabinet_core.errors import RecipeError
from lsabinet_core.models import create_model
from lsabinet_core.models.complexity import Cost, count_macs, count_parameters
from lsabinet_core.models.weights import read_metadata
from lsabinet_core.reproduce.modules import module_variants
from lsabinet_core.training.ablation import Variant, ablation_table, switch_variants, variant_runs
from lsabinet_core.training.recipe import load_recipe

# Modules: number of parameters for 11 classes, and as printed in the paper; the two that it does not print are counted
# by hand: LRFA has 44,035, SVFM 680,911, and RCAD 361,342 in place of the head.
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
    """Skip the pictures of finished runs, and count the operations of each network only once. Both take longer than
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
        patch.setattr("lsabinet_core.models.complexity.count_macs", count_once)
        yield


def run(root, out, *options: str) -> int:
    return main(["ablate", "--dataset", "camvid", "--root", str(root), "--out", str(out), *SHORT, *options])


@pytest.fixture(scope="module")
def finished(small_camvid, tmp_path_factory):
    """All eight combinations for two iterations each, interrupted by Ctrl-C in the fourth run."""
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


def test_interrupted_ablation_continues(finished):
    out, before, stamps = finished
    assert before == ["baseline", "lrfa", "svfm"]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {path.parent.parent.name for path in out.glob("*/seed1/summary.json")} == set(PARAMETERS)
    # The run that was interrupted before its first checkpoint was restarted: its first records are gone.
    losses = [json.loads(line).get("loss") for line in (out / "rcad/seed1/metrics.jsonl").read_text().splitlines()]
    assert losses
    assert 9.0 not in losses


def test_each_variant_trains_its_own_network(finished):
    out, _, _ = finished
    for name in PARAMETERS:
        modules = set() if name == "baseline" else set(name.split("+"))
        metadata = read_metadata(out / name / "seed1" / "last.safetensors")
        assert {module for module, on in metadata.options.items() if on} == modules
        assert metadata.training["iterations"] == 2
        assert metadata.training["recipe"]["seed"] == 1


def test_table_of_all_combinations(finished):
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
    # The cost of a module does not depend on the other modules.
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


def test_finished_ablation_only_prints_its_table(finished, small_camvid, capsys, monkeypatch):
    out, _, _ = finished
    before = (out / "table.json").read_text()
    monkeypatch.setattr("lsabinet_core.training.trainer.Trainer.fit", lambda self: pytest.fail("trained again"))
    monkeypatch.setattr("lsabinet_core.cli.ablate.measure_forward", lambda *_: pytest.fail("measured"))
    assert run(small_camvid, out) == 0
    assert (out / "table.json").read_text() == before
    printed = capsys.readouterr().out
    for parameters, *_ in PARAMETERS.values():
        assert f"{parameters:,}" in printed


def test_folder_with_another_recipe_is_rejected(finished, small_camvid, capsys):
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


def test_failed_variant_does_not_stop_the_others(small_camvid, tmp_path, capsys):
    out = tmp_path / "switches"
    switches = ("--switch", "optimizer.lr=1e30", "--switch", "boundary_weight=1")
    options = ("--set", "model=espnet", "--set", "max_skipped=1", "--set", "epochs=2")
    assert run(small_camvid, out, *switches, *options) == 1
    printed = capsys.readouterr()
    assert "lsabinet: error: optimizer.lr=1e30/seed1: loss or gradient was not finite" in printed.err
    last = printed.out[printed.out.rindex("variant  ") :]
    assert last.count("0/1, 1 failed") == 1
    assert last.count("1/1") == 2
    rows = json.loads((out / "table.json").read_text())["rows"]
    assert [row["miou"] is None for row in rows] == [False, True, False]
    assert [row["failed"] for row in rows] == [0, 1, 0]
    assert "not finite" in rows[1]["errors"]["1"]
    assert rows[0]["errors"] == {}


def test_row_matches_hand_computed_figures():
    def run(variant: str, seed: int, miou: float | None = None, state="finished", error=None) -> dict:
        paper_rule = None if miou is None else miou + 0.1
        return {
            **{"run": f"{variant}/seed{seed}", "seed": seed, "state": state, "error": error},
            **{"val_miou": miou, "val_miou_paper_rule": paper_rule},
        }

    names = ["base", "x", "unlabelled", "empty"]
    variants = [Variant(name, ("a=1",) * (name != "base")) for name in names]
    runs = [run("base", 1, 0.5), run("base", 2, 0.6), run("base", 3, state="waiting")]
    # Seed 3 has no run of the baseline to compare with.
    runs += [run("x", 1, 0.53), run("x", 2, state="unfinished"), run("x", 3, 0.9)]
    runs += [run("unlabelled", 1), run("unlabelled", 2, 0.4), run("unlabelled", 3, state="failed", error="it diverged")]
    runs += [run("empty", 1, state="waiting")]
    facts = {"recipe": "r", "dataset": "d", "split": "s", "val_split": "v", "seeds": [1, 2, 3]}
    facts["latency"] = {"size": [1, 2], "device": "cpu", "threads": 1}
    table = ablation_table(
        variants, runs, dict.fromkeys(names, Cost(1_840_859, 0, 8.6551)), dict.fromkeys(names, 12.34), facts
    )
    base, other, unlabelled, empty = table.rows
    assert base["miou"] == pytest.approx(0.55)
    assert base["miou_spread"] == pytest.approx(0.1 / math.sqrt(2))
    assert other["miou_difference"] == pytest.approx(0.03)
    shown = [dict(zip(table.columns, cells, strict=True)) for cells in table.cells()]
    assert shown[1] == {
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
    assert (shown[0]["variant"], shown[0]["difference"]) == ("recipe as it is", "-")
    assert (unlabelled["miou"], unlabelled["miou_spread"], shown[2]["runs"]) == (0.4, None, "2/3, 1 failed")
    assert unlabelled["errors"] == {"3": "it diverged"}
    assert empty["miou"] is empty["miou_spread"] is empty["miou_difference"] is None


def test_latency_is_measured_in_evaluation_mode(monkeypatch):
    seen = []

    def create(*arguments, **options):
        network = create_model(*arguments, **options)
        network.register_forward_hook(
            lambda module, inputs, _: seen.append((tuple(inputs[0].shape), module.training, torch.is_grad_enabled()))
        )
        return network

    monkeypatch.setattr("lsabinet_core.models.create_model", create)
    monkeypatch.setattr(ablate, "LATENCY_ROUNDS", 2)
    recipes = {name: load_recipe("synthetic", [f"model={name}"]) for name in ("dabnet", "lsabinet")}
    latencies = ablate.measure_forward(recipes, 3, (64, 96), torch.device("cpu"))
    assert list(latencies) == ["dabnet", "lsabinet"]
    assert min(latencies.values()) > 0
    assert set(seen) == {((1, 3, 64, 96), False, False)}
    assert len(seen) == 2 * 5


def test_invalid_arguments(tmp_path, small_camvid, capsys):
    with pytest.raises(RecipeError, match=r"epochs=3: .*already"):
        switch_variants("synthetic", ["epochs=3"], [["epochs=3"]])
    with pytest.raises(RecipeError, match="unknown key 'epoch'"):
        variant_runs("synthetic", [], [Variant("x", ("epoch=3",))], [1], "camvid")
    with pytest.raises(RecipeError, match="got one of dabnet"):
        module_variants("synthetic", ["model=dabnet"])
    with pytest.raises(RecipeError, match="give each change once"):
        switch_variants("synthetic", [], [["seed=7"], ["seed=7"]])
    assert run(small_camvid, tmp_path, "--factors", "recipe") == 1
    assert "--switch" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(small_camvid, tmp_path, "--seeds", "1,1")
    assert not list(tmp_path.iterdir())
