"""``lsabinet synthetic``: rendering of data sets and previews."""

import cv2
import pytest

from lsabinet_core.cli import main


def test_preview_draws_scenes_above_their_labels(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert main(["synthetic", "preview", "--out", str(out), "--scenes", "3", "--size", "64x96"]) == 0
    sheet = cv2.imread(str(out))
    assert sheet.shape == (2 * 64, 3 * 96, 3)
    assert "3 scenes" in capsys.readouterr().out


def test_preview_rejects_other_formats(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["synthetic", "preview", "--out", str(tmp_path / "sheet.txt")])
    assert ".png" in capsys.readouterr().err


def test_render_reports_the_number_of_scenes(tmp_path, capsys):
    command = ["synthetic", "render", "--out", str(tmp_path / "set"), "--scenes", "1", "--val-scenes", "1"]
    assert main([*command, "--size", "64x96", "--workers", "1"]) == 0
    assert "2 scenes, 2 of them" in capsys.readouterr().out


def test_night_scenes_are_darker_than_noon(tmp_path):
    brightness = {}
    for light in ("night", "noon"):
        out = tmp_path / f"{light}.png"
        command = ["synthetic", "preview", "--out", str(out), "--scenes", "4", "--size", "64x96", "--light", light]
        assert main(command) == 0
        # Compare the upper rows, which are mostly sky: exposure control compensates for the brightness elsewhere.
        brightness[light] = cv2.imread(str(out))[:16].mean()
    assert brightness["night"] < 0.8 * brightness["noon"]
