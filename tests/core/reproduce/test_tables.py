"""The tables: exact counts of every row, measurements of tiny networks, and the figures in every format."""

import csv
import io
import json

import pytest

from lsabinet_core.errors import BackendError, ModelError
from lsabinet_core.models import list_models
from lsabinet_core.models.complexity import Cost
from lsabinet_core.reproduce import measured as measured_tables
from lsabinet_core.reproduce.accuracy import Accuracy
from lsabinet_core.reproduce.measured import MeasuredTable, TableRow, measure_table, place_of_ours, table_rows
from lsabinet_core.reproduce.paper import NOT_IN_PAPER, NOTES, TABLES, Figure, Printed
from lsabinet_core.reproduce.report import class_report, report

SIZE = (64, 96)

# Parameters for 19 and 11 classes and GMACs for 19 classes at 512x1024, from independent counts (test_zoo.py checks the
# counts of all networks).
COUNTS = {
    "lsabinet": (1_841_915, 1_840_859, 26.30),
    "segnet": (29_453_971, 29_449_355, 325.5),
    "enet": (360_422, 358_246, 4.121),
}


def test_rows():
    for number in (1, 2, 3):
        rows = table_rows(number)
        assert rows[0].is_ours
        assert {row.name for row in rows} == set(list_models())
        assert len(rows) == len(list_models())
        assert {row.name for row in rows if row.printed.note == "not in the paper"} == set(NOT_IN_PAPER)
    rows = table_rows(4)
    assert [row.title for row in rows[:2]] == ["baseline", "LRFA"]
    assert rows[7].title == "LRFA + SVFM + RCAD"
    assert len(rows) == 8
    assert [row.is_ours for row in rows] == 7 * [False] + [True]
    assert {row.name for row in rows if row.printed.note == "not printed"} == {"lrfa+rcad", "svfm+rcad"}
    assert [row.name for row in table_rows(3, ["enet", "lsabinet"])] == ["lsabinet", "enet"]
    with pytest.raises(ModelError, match="table 4 has no row 'enet': choose from baseline, lrfa"):
        table_rows(4, ["enet"])


def measured(monkeypatch, number: int, **options) -> MeasuredTable:
    """The table with counts, but without timing."""

    def no_engine(candidates, **_):
        failures = [{**candidate.document(), "reason": "switched off"} for candidate in candidates]
        return {"rows": [], "failures": failures, "machine": {}}

    monkeypatch.setattr(measured_tables, "benchmark_inference", no_engine)
    return measure_table(number, **options)


def test_exact_counts(monkeypatch):
    """The counts are for Cityscapes' 19 classes at 512x1024, and for CamVid's 11 classes."""
    cityscapes = {row.name: row for row in measured(monkeypatch, 1, names=list(COUNTS)).rows}
    camvid = {row.name: row for row in measured(monkeypatch, 3, names=list(COUNTS)).rows}
    for name, (of_19, of_11, gmacs) in COUNTS.items():
        assert (cityscapes[name].cost.parameters, camvid[name].cost.parameters) == (of_19, of_11)
        assert cityscapes[name].cost.gmacs == pytest.approx(gmacs, rel=0.01)


def test_exact_counts_of_the_modules(monkeypatch):
    rows = {row.name: row for row in measured(monkeypatch, 4).rows}
    expected = {
        "baseline": 754_571,
        "lrfa": 798_606,
        "svfm": 1_435_482,
        "rcad": 1_115_913,
        "lrfa+svfm": 1_479_517,
        "lrfa+rcad": 754_571 + 44_035 + 361_342,
        "svfm+rcad": 754_571 + 680_911 + 361_342,
        "lrfa+svfm+rcad": 1_840_859,
    }
    assert {name: row.cost.parameters for name, row in rows.items()} == expected
    assert rows["lrfa+svfm+rcad"].cost.gmacs == pytest.approx(8.655, abs=5e-4)
    assert {row.failures["torch"] for row in rows.values()} == {"switched off"}


def test_measuring(tmp_path):
    steps = []
    accuracy = Accuracy(0.5, "run", "made up", {"road": 0.25})
    table = measure_table(
        1,
        names=["enet", "lsabinet"],
        size=SIZE,
        backends=["torch", "eager", "torch"],
        rounds=2,
        threads=1,
        device="cpu",
        accuracies={"enet": accuracy, "cgnet": accuracy},
        progress=lambda *step: steps.append(step),
    )
    assert table.backends == ["torch", "eager"]
    assert table.classes == 19
    assert table.machine["threads"] == 1
    ours, enet = table.rows
    for row in table.rows:
        assert not row.failures
        assert set(row.latency) == {"torch", "eager"}
        for latency in row.latency.values():
            assert latency["fps"] == pytest.approx(1000 / latency["median_ms"], rel=1e-3)
            assert latency["params"] == row.cost.parameters
            assert latency["gmacs"] == pytest.approx(row.cost.gmacs, abs=1e-3)
            assert latency["size"] == list(SIZE)
    assert (enet.accuracy, ours.accuracy) == (accuracy, None)
    assert {what for what, *_ in steps} == {"counting", "building", "measuring"}
    assert all(done <= total for _, done, total in steps)
    assert "1 of 2 by parameters" not in place_of_ours(table)
    assert "2 of 2 by parameters" in place_of_ours(table)


def test_modules_are_measured_with_their_options():
    table = measure_table(4, names=["baseline", "lrfa+svfm"], size=SIZE, rounds=1, threads=1, device="cpu")
    counted = [row.latency["torch"]["params"] for row in table.rows]
    assert counted == [row.cost.parameters for row in table.rows] == [754_571, 1_479_517]


def test_failing_network_has_a_row_with_the_reason(monkeypatch):
    table = measure_table(3, names=["enet", "lsabinet"], size=(32, 32), rounds=1, device="cpu")
    reason = table.rows[0].failures["network"]
    assert "64" in reason
    assert [row.latency for row in table.rows] == [{}, {}]
    assert f"{reason}." in report(table).markdown()
    with pytest.raises(BackendError, match="expected backend to be one of"):
        measure_table(3, names=["enet"], size=SIZE, backends=["steam"], rounds=1, device="cpu")


@pytest.fixture
def made_up() -> MeasuredTable:
    """Three rows of table 2: ours, a trained one, and one that failed."""

    def latency(median: float) -> dict:
        figures = {"median_ms": median, "p95_ms": median + 1, "p99_ms": median + 2, "fps": 1000 / median}
        return {"torch": {"precision": "fp32", **figures}}

    rows = [
        TableRow(
            "lsabinet",
            "LSA-BiNet",
            "lsabinet",
            {},
            TABLES[2].rows["lsabinet"],
            Cost(1_841_915, 0, 26.298),
            latency(80.0),
        ),
        TableRow("enet", "ENet", "enet", {}, Printed(Figure("0.36")), Cost(360_422, 2_432, 4.121), latency(40.0)),
        TableRow("icnet", "ICNet", "icnet", {}, TABLES[1].rows["icnet"], Cost(6_699_987, 0, 7.65)),
    ]
    rows[1].accuracy = Accuracy(0.4567, "run", "zoo/enet, cityscapes train -> val", {"road": 0.9, "wall": None})
    rows[2].failures["torch"] = "out of memory"
    machine = {"device": "cuda:0", "device_name": "abacus", "threads": 1, "versions": {"torch": "2.0"}}
    return MeasuredTable(TABLES[2], (512, 1024), ["torch"], rows, 5, machine)


def test_rank_of_lsabinet(made_up):
    sentence = place_of_ours(made_up)
    assert sentence.endswith("2 of 2 by latency (torch), 3 of 3 by GMACs, 2 of 3 by parameters.")
    made_up.rows[0].accuracy = Accuracy(0.5, "run", "", {})
    assert place_of_ours(made_up).endswith("1 of 2 by mIoU.")
    assert place_of_ours(MeasuredTable(TABLES[2], (1, 1), [], made_up.rows[1:], 5, {})) is None


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown(made_up):
    lines = report(made_up).markdown().splitlines()
    table = [cells_of(line) for line in lines if line.startswith("|")]
    header, rule, ours, enet, icnet = table
    assert rule[:2] == ["---", "---:"]
    assert {len(row) for row in table} == {len(header)}
    ours, enet, icnet = (dict(zip(header, row)) for row in (ours, enet, icnet))
    assert ours == {
        "network": "LSA-BiNet",
        "year": "2025",
        "parameters": "1,841,915",
        "GMACs": "26.298",
        "latency ms": "80.0",
        "fps": "12.5",
        "val mIoU %": "-",
        "trained": "not trained here",
        "paper: M params": "-",
        "paper: G FLOPs": "-",
        "paper: mIoU %": "72.74 [a]",
    }
    assert (enet["parameters"], enet["paper: M params"]) == ("360,422 [b]", "0.36")
    assert (enet["val mIoU %"], enet["trained"]) == ("45.67", "run [c]")
    assert (icnet["latency ms"], icnet["fps"], icnet["paper: M params"]) == ("- [d]", "-", "7.8 [e]")
    notes = [line for line in lines if line.startswith("[")]
    assert notes[0] == f"[a] {NOTES['class column']}."
    assert notes[3] == "[d] out of memory."
    assert "2,432 of these parameters" in notes[1]
    assert notes[2] == "[c] zoo/enet, cityscapes train -> val."
    assert len(notes) == 6
    classes = class_report(made_up)
    assert list(classes.columns) == ["class", "ENet"]
    assert classes.cells() == [["road", "90.00"], ["wall", "-"]]
    text = "\n".join(lines)
    assert "19 classes at 512x1024" in text
    assert "abacus" in text
    assert "median of 5 rounds" in text
    assert "abacus (cuda:0), 1 thread, PyTorch 2.0" in text
    assert "different numbers of iterations" not in text


def test_rows_with_different_training_have_notes(made_up):
    """The table names the origin of another run's mIoU, and the range of iterations."""
    control = "the mIoU on val of another run"
    made_up.rows[0].accuracy = Accuracy(0.6, "weights", "weights, cityscapes trainval", {}, 3326, control)
    made_up.rows[1].accuracy = Accuracy(0.4, "run", "zoo/enet", {}, 135)
    text = report(made_up).markdown()
    assert "60.00 [a]" in text
    assert f"[a] {control}." in text
    assert "different numbers of iterations, from 135 to 3,326" in text
    ours, enet, _ = json.loads(report(made_up).json())["rows"]
    assert (ours["miou_of"], ours["iterations"], enet["miou_of"]) == (control, 3326, None)
    made_up.rows[1].accuracy = Accuracy(None, "in training", "zoo/enet", {}, 135)
    assert "different numbers of iterations" not in report(made_up).markdown()


def test_json_round_trips(made_up):
    document = json.loads(report(made_up).json())
    assert (document["table"], document["size"], document["classes"]) == (2, [512, 1024], 19)
    ours, enet, icnet = document["rows"]
    assert (ours["paper_parameters_m"], ours["paper_miou_percent"]) == (None, 72.74)
    assert ours["paper_notes"] == f"mIoU %: {NOTES['class column']}"
    assert ours["trained"] == "not trained here"
    assert enet["torch_p95_ms"] == 41.0
    assert enet["per_class_iou"] == {"road": 0.9, "wall": None}
    assert enet["miou"] == 0.4567
    assert enet["gmacs"] == 4.121
    assert icnet["failures"] == "torch: out of memory"
    assert icnet["torch_fps"] is None


def test_csv_round_trips(made_up):
    rows = list(csv.DictReader(io.StringIO(report(made_up).csv())))
    assert [row["network"] for row in rows] == ["lsabinet", "enet", "icnet"]
    assert [row["torch_median_ms"] for row in rows] == ["80.0", "40.0", ""]
    assert [row["torch_precision"] for row in rows] == ["fp32", "fp32", ""]
    for row in rows:
        found = [row[name] for name in ("dataset", "classes", "size", "device")]
        assert found == ["cityscapes", "19", "512x1024", "abacus (cuda:0)"]
    assert [row["spare_parameters"] for row in rows] == ["0", "2432", "0"]
    assert [row["miou"] for row in rows] == ["", "0.4567", ""]
    assert rows[0]["trained"] == "not trained here"
    assert (rows[0]["paper_miou_percent"], rows[2]["paper_parameters_m"]) == ("72.74", "7.8")
    assert NOTES["icnet parameters"] in rows[2]["paper_notes"]
    assert rows[2]["failures"] == "torch: out of memory"


def test_each_backend_has_a_column(made_up):
    made_up.backends.append("eager")
    table = report(made_up)
    header = list(table.columns)
    assert header[4:8] == ["torch latency ms", "torch fps", "eager latency ms", "eager fps"]
    assert {len(row) for row in table.cells()} == {len(header)}
    # Columns of the paper without any figure are omitted.
    assert "paper: fps" not in header
    assert "paper: mIoU %" in header
