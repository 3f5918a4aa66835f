"""``lsabinet runs`` and ``lsabinet plot`` on run folders created by the tests."""

import csv
import json
import os

import cv2
import pytest

from lsabinet_core import cli
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder


def make_run(path, *overrides, iterations=40, finished=False, split="train"):
    """Create a run folder: 20 iterations per epoch, a loss of 1 / iteration, an mIoU that rises by 0.1 per epoch."""
    run = RunFolder(path)
    recipe = load_recipe("camvid", ["epochs=4", *overrides])
    run.create(recipe, {"dataset": "camvid", "split": split, "val_split": "val", "recipe": "camvid"})
    for iteration in range(10, iterations + 1, 10):
        epoch = (iteration - 1) // 20 + 1
        run.record(iteration=iteration, epoch=epoch, loss=1 / iteration, lr=1e-3, images_per_s=4.0)
        if iteration % 20 == 0:
            run.record(iteration=iteration, epoch=epoch, val={"miou": 0.3 + 0.1 * epoch})
    if finished:
        run.finish({"iterations": iterations, "seconds": 3725})
    return path


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "VERBS", ("runs", "plot"))
    folder = tmp_path / "runs"
    make_run(folder / "whole", "seed=3", "description=the whole", iterations=80, finished=True)
    make_run(folder / "cut", "model_options={svfm: false}", "optimizer.lr=0.5")
    return folder


def error(capsys) -> str:
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("lsabinet: error: ")
    return line


def test_table(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["runs", "--json", "runs.json"]) == 0
    header, cut, whole = capsys.readouterr().out.splitlines()
    columns = [header.index(word) for word in ("run", "model", "data", "recipe")]
    assert [whole[at:].split("  ")[0] for at in columns] == ["whole", "lsabinet", "camvid train -> val", "the whole"]
    assert whole.split()[-7:] == ["80/80", "finished", "70.00", "70.00", "1:02:05", "4.0", "3"]
    assert "lsabinet (no svfm)" in cut
    assert "40/80" in cut
    assert "unfinished" in cut
    assert "50.00" in cut
    rows = {os.path.basename(row["run"]): row for row in json.loads((tmp_path / "runs.json").read_text())["runs"]}
    assert rows["whole"]["best_val_miou"] == pytest.approx(0.7)
    assert rows["whole"]["seconds"] == 3725
    assert rows["cut"]["model_options"] == {"svfm": False}
    assert not rows["cut"]["finished"]
    assert (rows["cut"]["iterations"], rows["cut"]["total_iterations"]) == (40, 80)


def test_miou_measured_on_training_images_is_marked_as_seen(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "VERBS", ("runs",))
    make_run(tmp_path / "ships", split="trainval")
    assert cli.main(["runs", str(tmp_path)]) == 0
    assert "50.00 seen" in capsys.readouterr().out


def test_settings_of_named_runs_are_compared(runs, tmp_path, capsys):
    document = tmp_path / "runs.json"
    assert cli.main(["runs", str(runs / "whole"), str(runs / "cut"), "--json", str(document)]) == 0
    table, compared = capsys.readouterr().out.strip().split("\n\n")
    assert len(table.splitlines()) == 3
    header, *rows = compared.splitlines()
    assert header.split() == ["setting", "whole", "cut"]
    lr = str(load_recipe("camvid").optimizer.lr)
    assert {row.split()[0]: row.split()[1:] for row in rows} == {
        "seed": ["3", "1"],
        "optimizer.lr": [lr, "0.5"],
        "model_options": ["{}", "-"],
        "model_options.svfm": ["-", "False"],
    }
    assert json.loads(document.read_text())["differences"]["optimizer.lr"] == [float(lr), 0.5]
    assert cli.main(["runs", str(runs)]) == 0
    assert "optimizer.lr" not in capsys.readouterr().out, "the runs of a folder are only listed"


def test_errors_of_runs(runs, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["runs", str(tmp_path / "empty")]) == 1
    assert "empty holds no run" in error(capsys)
    assert cli.main(["runs", str(tmp_path / "nowhere")]) == 1
    assert "no such folder" in error(capsys)
    with (runs / "cut" / "metrics.jsonl").open("a") as stream:
        stream.write("broken\n")
    assert cli.main(["runs", str(runs / "cut")]) == 1
    assert "metrics.jsonl, line 7" in error(capsys)
    assert cli.main(["runs", str(runs)]) == 1
    captured = capsys.readouterr()
    assert "whole" in captured.out, "readable runs are still listed"
    assert "1 of 2 runs cannot be read, the first: " in captured.err
    assert "line 7" in captured.err


def test_plot_loss_with_csv(runs, tmp_path, capsys):
    out, table = tmp_path / "deep" / "loss.png", tmp_path / "loss.csv"
    assert cli.main(["plot", str(runs), "--out", str(out), "--smooth", "3", "--csv", str(table)]) == 0
    assert "2 runs drawn" in capsys.readouterr().out
    assert cv2.imread(str(out)).shape[2] == 3
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["run"] for row in rows] == ["cut"] * 4 + ["whole"] * 8
    assert [float(row["iteration"]) for row in rows[:4]] == [10, 20, 30, 40]
    assert [float(row["loss"]) for row in rows[:4]] == pytest.approx([1 / 10, 1 / 20, 1 / 30, 1 / 40], rel=1e-5)
    assert float(rows[1]["loss_mean_of_3"]) == pytest.approx((1 / 10 + 1 / 20 + 1 / 30) / 3, rel=1e-5)


def test_plot_miou_over_epochs(runs, tmp_path):
    out, table = tmp_path / "miou.pdf", tmp_path / "miou.csv"
    options = ["--what", "miou", "--over", "epoch", "--out", str(out), "--csv", str(table)]
    assert cli.main(["plot", str(runs / "whole"), *options]) == 0
    assert out.read_bytes().startswith(b"%PDF")
    lines = table.read_text().splitlines()
    assert lines == ["run,epoch,miou_percent", "whole,1,40", "whole,2,50", "whole,3,60", "whole,4,70"]


def test_errors_of_plot(runs, tmp_path, capsys):
    make_run(tmp_path / "young", iterations=10)
    make_run(tmp_path / "new", iterations=0)
    out = str(tmp_path / "a.png")
    for arguments, message in (
        ([str(tmp_path / "young"), "--out", out, "--what", "miou"], "young has no validation yet"),
        ([str(tmp_path / "young"), "--out", out, "--over", "epoch"], "use --over iteration"),
        ([str(tmp_path / "new"), "--out", out], "new has no training record yet"),
        ([str(runs), "--out", str(tmp_path / "a.gif")], "a.gif: expected a file name ending in .png, .pdf, .svg"),
        ([str(tmp_path / "nowhere"), "--out", out], "no such folder"),
    ):
        assert cli.main(["plot", *arguments]) == 1
        assert message in error(capsys)
    assert not (tmp_path / "a.png").exists()


def test_names_that_are_not_utf_8(runs, tmp_path, capfd):
    (runs / "cut").rename(os.fsdecode(os.fsencode(runs) + b"/cut\xff"))
    assert cli.main(["runs", str(runs)]) == 0
    assert "cut\ufffd" in capfd.readouterr().out
    assert cli.main(["plot", str(runs), "--out", str(tmp_path / "loss.png")]) == 0
