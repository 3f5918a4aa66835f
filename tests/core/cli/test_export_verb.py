"""``lsabinet export`` from the command line's side."""

import json
import os
import signal
from pathlib import Path

import cv2
import pytest

from lsabinet_core import cli
from lsabinet_core.cli import export as verb
from lsabinet_core.inference.artefact import open_artefact
from lsabinet_core.inference.convert import openvino_, quantize


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cli, "VERBS", (*cli.VERBS, "export") if "export" not in cli.VERBS else cli.VERBS)


@pytest.fixture
def lsabinet(random_weights, capsys):
    def run(*arguments):
        status = cli.main(["export", "--weights", str(random_weights), *map(str, arguments)])
        return status, capsys.readouterr()

    return run


def test_torchscript_checked_on_the_users_frames(lsabinet, tmp_path, noise_image):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3):
        cv2.imwrite(str(frames / f"{index}.png"), noise_image(index, (120, 160)))
    out, report = tmp_path / "new" / "net.pt", tmp_path / "report.json"
    status, said = lsabinet(
        *("--to", "torchscript", "--out", out, "--json", report), *("--verify", "--frames", frames, "--limit", "2")
    )
    assert status == 0, said.err
    assert "torchscript fp32, any number of x 96x128" in said.out
    assert f"on 2 frames ({frames})" in said.out and "100.0000 % of pixels" in said.out
    document = json.loads(report.read_text())
    assert document["out"] == str(out) and document["size"] == [96, 128] and document["batch"] is None
    parity = open_artefact(out).info.parity
    assert parity == document["parity"]
    assert parity["count"] == 2 and parity["pixel_agreement"] > 0.999 and parity["max_logit_error"] < 1e-3


def test_masks_for_other_programs(lsabinet, tmp_path):
    out, report = tmp_path / "net.pt", tmp_path / "report.json"
    arguments = ("--to", "torchscript", "--output", "mask", "--out", out, "--json", report)
    status, said = lsabinet(*arguments, "--verify", "--limit", "2")
    assert status == 0, said.err
    assert "96x128 to mask, in" in said.out and "(synthetic val): 100.0000 % of pixels" in said.out
    assert open_artefact(out).info.output == "mask"
    assert json.loads(report.read_text())["fingerprint"] == open_artefact(out).info.weights


def test_terminated_it_leaves_nothing_behind(lsabinet, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lsabinet_core.inference.export.check_parity", lambda *arguments: os.kill(os.getpid(), signal.SIGTERM)
    )
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        lsabinet("--to", "torchscript", "--out", tmp_path / "new" / "net.pt", "--verify")
    assert left.value.code == 128 + signal.SIGTERM
    assert not list((tmp_path / "new").iterdir()) and signal.getsignal(signal.SIGTERM) == handler


def test_openvino_for_the_cache_only(lsabinet, tmp_path):
    status, said = lsabinet("--to", "openvino", "--size", "64x72", "--batch", "dynamic")
    assert status == 0, said.err
    assert "in the engine cache" in said.out and "--verify does that" in said.err
    names = sorted(folder.name.rpartition("-")[0] for folder in (tmp_path / "cache" / "engines").iterdir())
    # What is compiled of it for one image, too, so that no frame waits.
    assert names == ["openvino-64x72-fp32", "openvino-compiled-64x72-fp32"]


def test_a_cache_that_cannot_be_written(lsabinet, tmp_path, monkeypatch):
    (tmp_path / "occupied").write_text("a file, not a folder")
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "occupied"))
    for arguments in (["--to", "openvino"], ["--to", "onnx"]):
        status, said = lsabinet(*arguments)
        assert status == 1 and "nothing was made: the engine cache" in said.err and not said.out
    # The file is there nevertheless.
    status, said = lsabinet("--to", "openvino", "--out", tmp_path / "net.xml")
    assert status == 0 and "cannot be written" in said.err and (tmp_path / "net.bin").exists()


def test_a_disk_that_is_full(lsabinet, tmp_path, monkeypatch):
    """OpenVINO and PyTorch have errors of their own for that."""

    def full(*args, **options):
        raise RuntimeError("Exception from src/core:\nbasic_ios::clear: iostream error")

    monkeypatch.setattr(openvino_.import_openvino(), "save_model", full)
    status, said = lsabinet("--to", "openvino", "--out", tmp_path / "net.xml")
    assert status == 1 and "basic_ios::clear: iostream error): is there space" in said.err
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: os.open("/dev/full/no", os.O_WRONLY))
    status, said = lsabinet("--to", "torchscript", "--out", tmp_path / "net.pt")
    assert status == 1 and said.err.strip().splitlines()[-1].startswith("lsabinet: error: ")
    assert not [file for file in tmp_path.iterdir() if "net" in file.name]


def test_frames_that_cannot_be_read(lsabinet, tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "a.png").write_bytes(b"no image")
    status, said = lsabinet(
        "--to", "torchscript", "--out", tmp_path / "net.pt", "--verify", "--frames", tmp_path / "frames"
    )
    assert status == 1 and "to have a frame that can be read, got none" in said.err and "Traceback" not in said.err
    assert not (tmp_path / "net.pt").exists()


def test_int8_is_measured_on_what_did_not_calibrate_it(lsabinet, tmp_path, monkeypatch):
    """The frames and the judgement; quantising itself is tested beside it."""
    seen = {}

    def pretend(model, images, count, keep):
        seen.update(shapes=[image.shape for image in images], count=count, keep=keep)
        return model.clone()

    monkeypatch.setattr(quantize, "quantize", pretend)
    out = tmp_path / "int8.xml"
    arguments = ("--to", "openvino", "--precision", "int8", "--out", out, "--verify", "--dataset", "synthetic")
    arguments += ("--split", "val", "--calibration-frames", "3", "--limit", "2", "--keep-floating", ".*stem.*")
    status, said = lsabinet(*arguments)
    assert status == 0, said.err
    assert seen == {"shapes": [(96, 128, 3)] * 3, "count": 3, "keep": (".*stem.*",)}
    info = open_artefact(out).info
    assert info.calibration["frames"] == "synthetic val, 3 of 100 frames"
    assert info.parity["count"] == 2 and info.parity["miou_int8"] == pytest.approx(info.parity["miou_fp32"], abs=1e-3)
    assert "mIoU on 2 frames (synthetic val, not calibrated on)" in said.out

    status, said = lsabinet(*arguments, "--verify-split", "test")
    assert status == 0 and "mIoU on 2 frames (synthetic test, not calibrated on)" in said.out

    out.unlink()
    monkeypatch.setattr(verb, "MOST_MIOU_LOSS", -1.0)
    status, said = lsabinet(*arguments)
    assert status == 1 and "int8 loses" in said.err and "expected at most -100" in said.err and not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "openvino", "--precision", "int8"], "give --dataset D --root DIR"),
        (["--to", "onnx", "--precision", "int8"], "int8 is made for openvino only"),
        (["--to", "onnx", "--out", "net.xml"], "file ending in .onnx, got net.xml"),
        (["--to", "openvino", "--size", "32x32"], "at least 64x64"),
        (["--to", "tensorrt", "--batch", "dynamic"], "a number, such as --batch 1"),
        (["--to", "torchscript", "--out", "net.pt", "--verify", "--dataset", "camvid"], "its folder: give --root DIR"),
        (["--to", "torchscript"], "give the file to write"),
        (["--to", "onnx", "--batch", "2"], "give the file to write"),
        (["--to", "openvino", "--output", "mask"], "give the file to write"),
        (["--to", "onnx", "--limit", "2"], "--limit is for --verify: add that, or leave it out"),
        (["--to", "onnx", "--verify", "--keep-floating", "a"], "--keep-floating is for --precision int8"),
        (["--to", "openvino", "--precision", "int8", "--verify-split", "val"], "--verify-split is for --verify"),
        (["--to", "openvino", "--precision", "int8", "--frames", "a"], "--frames is not for int8"),
        (["--to", "onnx", "--verify", "--frames", "a", "--root", "b"], "--root is of no use beside --frames"),
        (
            [
                "--to",
                "openvino",
                "--precision",
                "int8",
                "--verify",
                "--dataset",
                "synthetic",
                "--verify-split",
                "train",
            ],
            "--verify-split train is what int8 is calibrated on",
        ),
    ],
)
def test_errors_are_one_line(lsabinet, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said = lsabinet(*arguments)
    assert status == 1 and message in said.err
    assert said.err.strip().splitlines()[-1].startswith("lsabinet: error: ") and "Traceback" not in said.err
    assert not list(tmp_path.glob("net*"))


def test_wrong_usage(lsabinet):
    for arguments in (["--to", "caffe"], ["--to", "onnx", "--batch", "0"], ["--to", "onnx", "--size", "96"], []):
        with pytest.raises(SystemExit, match="2"):
            lsabinet(*arguments)
