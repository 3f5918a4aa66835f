"""``lsabinet models``: all networks with their counts, and the shipped weights."""

import json

import pytest

from lsabinet_core.cli import main
from lsabinet_core.models import list_models
from lsabinet_core.models.weights import list_weights


def test_every_network_is_listed(tmp_path, capsys):
    path = tmp_path / "models.json"
    assert main(["models", "--size", "512x1024", "--json", str(path)]) == 0
    printed, document = capsys.readouterr().out, json.loads(path.read_text())

    rows = {row["model"]: row for row in document["models"]}
    assert list(rows) == list_models()
    assert rows["cgnet"] == {
        "model": "cgnet",
        "params": {"11": 494_258, "19": 496_306},
        # With 19 classes it is 6.762: the 1x1 convolution has 8 x 256 more weights at 64 x 128 positions.
        "spare_params": {"11": 0, "19": 0},
        "gmacs": pytest.approx(6.745, abs=2e-3),
        "paper": "Wu et al., CGNet, IEEE TIP 2021",
        "year": 2021,
        "code": "own, Apache-2.0",
        "weights": [],
    }
    assert (document["size"], document["classes"]) == ([512, 1024], [11, 19])
    assert [row["weights"] for row in document["weights"]] == list_weights()
    assert rows["lsabinet"]["weights"] == [row["weights"] for row in document["weights"] if row["model"] == "lsabinet"]

    lines = {line.split()[0]: line for line in printed.splitlines() if line}
    text = " ".join(printed.split())
    assert set(lines) >= {*list_models(), *list_weights()}
    assert all(text in lines["cgnet"] for text in ("494,258", "496,306", "Apache-2.0", "TIP 2021"))

    # Notes on unused parameters, and on the origin of the mIoU of weights that were also trained on val.
    assert rows["enet"]["spare_params"] == {"11": 1_408, "19": 2_432}
    assert "1,408 for 11 classes" in text
    shipped = {row["weights"]: row for row in document["weights"]}
    assert shipped["lsabinet_camvid"]["iterations"] == 4680 + 774 + 2064 + 2550 + 1800 + 258 + 463
    assert "12,589" in lines["lsabinet_camvid"]
    assert "on camvid train alone" in shipped["lsabinet_camvid"]["val_miou_of"]
    assert "camvid train alone" in text
    assert shipped["lsabinet_synthetic"]["val_miou_of"] is None


def test_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("lsabinet_core.models.list_models", lambda: ["espnet"])
    path = tmp_path / "models.json"
    assert main(["models", "--size", "64x64", "--classes", "2", "11", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["models"]
    assert list(row["params"]) == ["2", "11"]
    assert row["params"]["2"] < row["params"]["11"] == 353_437
