"""``lsabinet tables`` on tiny images: its output, and arguments that it rejects before measuring."""

import csv
import json

import pytest

from lsabinet_core.cli import main

TINY = ["--size", "64x96", "--rounds", "1", "--threads", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def verb(monkeypatch):
    monkeypatch.setattr("lsabinet_core.cli.VERBS", ("tables",))


def test_printed_table_and_plot(tmp_path, capsys, monkeypatch):
    plot = tmp_path / "a.png"
    monkeypatch.setenv("COLUMNS", "100")
    command = ["tables", "--table", "3", "--models", "enet,lsabinet,pidnet_s", *TINY, "--plot", str(plot)]
    assert main([*command, "--weights", "lsabinet_camvid"]) == 0
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line for line in printed.splitlines() if line}
    assert "1,840,859" in lines["LSA-BiNet"]
    assert "68.53" in lines["LSA-BiNet"]
    assert "lsabinet_camvid" in lines["LSA-BiNet"]
    assert "not trained here" in lines["ENet"]
    assert "[" in lines["PIDNet-S"]
    assert "not in the paper" in printed
    text = " ".join(printed.split())
    assert "3 of 3 by GMACs" in text
    assert "11 classes at 64x96" in text
    assert "1 round in which" in text
    # The mIoU was measured on other weights, and the iterations are the sum over all rounds.
    assert "of the weights before the last round, trained on camvid train alone" in text
    assert "12,589 iterations" in text
    notes = printed[printed.index("[a]") :].split("\n\n", 1)[1]
    assert max(map(len, notes.splitlines())) <= 100
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_csv_file(tmp_path, capsys):
    path = tmp_path / "table.csv"
    command = ["tables", "--table", "4", "--models", "baseline,rcad", *TINY]
    assert main([*command, "--format", "csv", "--out", str(path)]) == 0
    assert capsys.readouterr().out == ""
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["network"], row["parameters"]) for row in rows] == [("baseline", "754571"), ("rcad", "1115913")]
    assert all(float(row["torch_median_ms"]) > 0 for row in rows)


def test_miou_from_an_ablation(tmp_path, capsys):
    facts = {"recipe": "r", "dataset": "camvid", "split": "train", "val_split": "val", "seeds": [1]}
    rows = [{"variant": "baseline", "miou": 0.5}, {"variant": "rcad", "miou": 0.625}]
    (tmp_path / "table.json").write_text(json.dumps({**facts, "rows": rows}))
    command = ["tables", "--table", "4", "--models", "rcad", *TINY, "--ablation", str(tmp_path), "--format", "json"]
    assert main(command) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["miou"], row["paper_parameters_m"], row["options"]["rcad"]) == (0.625, 1.12, True)


def test_no_network_could_be_timed(capsys):
    assert main(["tables", "--table", "3", "--models", "enet", "--size", "16x16", "--rounds", "1"]) == 1
    captured = capsys.readouterr()
    assert "nothing could be timed" in captured.err
    assert "64" in captured.out


def test_invalid_arguments(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lsabinet_core.reproduce.measured.measure_table", lambda *_, **__: pytest.fail("measured"))
    for options, message in (
        (["--models", "unet"], "has no row 'unet'"),
        (["--ablation", str(tmp_path)], "--ablation is for table 4"),
        (["--zoo", str(tmp_path)], "holds no run"),
        (["--weights", "nothing"], "no weights 'nothing'"),
        (["--weights", "lsabinet_synthetic"], "expected weights trained on camvid, got synthetic"),
        (["--plot", "a.txt"], ".png"),
        (["--out", str(tmp_path)], "expected a file, got a folder"),
    ):
        assert main(["tables", "--table", "3", *options]) == 1
        assert message in capsys.readouterr().err
    for options in ([], ["--table", "5"], ["--table", "1", "--rounds", "0"], ["--table", "1", "--models", ","]):
        with pytest.raises(SystemExit) as leaving:
            main(["tables", *options])
        assert leaving.value.code == 2
