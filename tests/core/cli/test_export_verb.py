"""``lsabinet export``: options, messages and errors."""

import errno
import json
import os
import signal
from pathlib import Path

import cv2
import pytest
import torch

from lsabinet_core import cli
from lsabinet_core.cli import export as verb
from lsabinet_core.inference.artefact import open_artefact
from lsabinet_core.inference.convert import openvino_, quantize
from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.weights import read_metadata


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


def test_torchscript_is_verified_on_the_users_frames(lsabinet, tmp_path, noise_image):
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3):
        cv2.imwrite(str(frames / f"{index}.png"), noise_image(index, (120, 160)))
    out, report = tmp_path / "new" / "net.pt", tmp_path / "report.json"
    status, captured = lsabinet(
        *("--to", "torchscript", "--out", out, "--json", report), *("--verify", "--frames", frames, "--limit", "2")
    )
    assert status == 0, captured.err
    assert "torchscript fp32, batch any, 96x128 to logits" in captured.out
    assert f"on 2 frames ({frames})" in captured.out
    assert "100.0000 % of pixels" in captured.out
    document = json.loads(report.read_text())
    assert document["out"] == str(out)
    assert document["size"] == [96, 128]
    assert document["batch"] is None
    parity = open_artefact(out).info.parity
    assert parity == document["parity"]
    assert parity["count"] == 2
    assert parity["pixel_agreement"] > 0.999
    assert parity["max_logit_error"] < 1e-3


def test_masks_for_other_programs(lsabinet, tmp_path):
    out, report = tmp_path / "net.pt", tmp_path / "report.json"
    arguments = ("--to", "torchscript", "--output", "mask", "--out", out, "--json", report)
    status, captured = lsabinet(*arguments, "--verify", "--limit", "2")
    assert status == 0, captured.err
    assert "96x128 to mask, in" in captured.out
    assert "(synthetic val): 100.0000 % of pixels" in captured.out
    assert open_artefact(out).info.output == "mask"
    assert json.loads(report.read_text())["fingerprint"] == open_artefact(out).info.weights


class OneConvolution(SegmentationNetwork):
    """A network that is exported for any size within a second."""

    def __init__(self):
        super().__init__()
        self.classify = torch.nn.Conv2d(3, 11, 3, stride=4, padding=1)

    def logits_and_features(self, image):
        return self.classify(image), ()


def test_export_for_any_size_is_verified_at_several_sizes(lsabinet, random_weights, tmp_path, monkeypatch):
    from lsabinet_core.inference import export as exporting

    metadata = read_metadata(random_weights)
    monkeypatch.setattr("lsabinet_core.models.weights.load_weights", lambda path: (OneConvolution().eval(), metadata))
    sizes = []

    def parity(network, artefact, images):
        sizes.extend(image.shape[:2] for image in images)
        return exporting.Parity(len(sizes), 0.0, 0.0, 1.0, 1.0)

    monkeypatch.setattr(exporting, "check_parity", parity)
    monkeypatch.setattr(exporting, "parity_by_defaults", lambda *arguments: None)
    out = tmp_path / "net.onnx"
    status, captured = lsabinet("--to", "onnx", "--size", "dynamic", "--out", out, "--verify", "--limit", "4")
    assert status == 0, captured.err
    assert "batch any, any size to logits" in captured.out
    assert open_artefact(out).info.size is None
    assert sizes == [(96, 128), (73, 107), (113, 145), (96, 128)]
    status, captured = lsabinet("--to", "torchscript", "--size", "dynamic", "--out", tmp_path / "net.pt")
    assert status == 1
    assert "give a size, such as --size" in captured.err


def test_parity_with_the_engines_default_settings_is_reported(lsabinet, tmp_path, monkeypatch):
    from lsabinet_core.inference import export as exporting

    checked = []

    def by_defaults(network, artefact, images):
        checked.append(len(list(images)))
        return "bf16", exporting.Parity(2, 0.1, 0.1, 1.0, 0.9876)

    monkeypatch.setattr(exporting, "parity_by_defaults", by_defaults)
    out = tmp_path / "net.pt"
    status, captured = lsabinet("--to", "torchscript", "--out", out, "--verify", "--limit", "2")
    assert status == 0, captured.err
    assert "100.0000 % of pixels" in captured.out
    assert "98.7600 % of pixels" in captured.out
    assert "bf16" in captured.out
    assert "INFERENCE_PRECISION_HINT" in captured.out
    assert checked == [2]
    assert open_artefact(out).info.parity["engine_defaults"] == {"precision": "bf16", "pixel_agreement": 0.9876}


def test_sigterm_leaves_no_files_behind(lsabinet, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lsabinet_core.inference.export.check_parity", lambda *arguments: os.kill(os.getpid(), signal.SIGTERM)
    )
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        lsabinet("--to", "torchscript", "--out", tmp_path / "new" / "net.pt", "--verify")
    assert left.value.code == 128 + signal.SIGTERM
    assert not list((tmp_path / "new").iterdir())
    assert signal.getsignal(signal.SIGTERM) == handler


def test_openvino_for_the_cache_only(lsabinet, tmp_path):
    status, captured = lsabinet("--to", "openvino", "--size", "64x72", "--batch", "dynamic")
    assert status == 0, captured.err
    assert "in the engine cache" in captured.out
    assert "--verify" in captured.err
    names = sorted(folder.name.rpartition("-")[0] for folder in (tmp_path / "cache" / "engines").iterdir())
    # The compiled model for one image is cached as well, so that no frame waits for it.
    assert names == ["openvino-64x72-fp32", "openvino-compiled-64x72-fp32"]


def test_a_cache_that_cannot_be_written(lsabinet, tmp_path, monkeypatch):
    (tmp_path / "occupied").write_text("a file, not a folder")
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "occupied"))
    status, captured = lsabinet("--to", "openvino")
    assert status == 1
    assert "the engine cache" in captured.err
    assert not captured.out
    # The export itself was written nevertheless.
    status, captured = lsabinet("--to", "openvino", "--out", tmp_path / "net.xml")
    assert status == 0
    assert "cannot be written" in captured.err
    assert (tmp_path / "net.bin").exists()


def test_a_full_disk(lsabinet, tmp_path, monkeypatch):
    """OpenVINO and PyTorch report a full disk with error types of their own."""

    def full(*args, **options):
        raise RuntimeError("Exception from src/core:\nbasic_ios::clear: iostream error")

    monkeypatch.setattr(openvino_.import_openvino(), "save_model", full)
    status, captured = lsabinet("--to", "openvino", "--out", tmp_path / "net.xml")
    assert status == 1
    assert "cannot write net.xml (basic_ios::clear: iostream error): is there free space" in captured.err

    def write(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write)
    status, captured = lsabinet("--to", "torchscript", "--out", tmp_path / "net.pt")
    assert status == 1
    assert captured.err.strip().splitlines()[-1] == (
        f"lsabinet: error: [Errno 28] No space left on device: '{tmp_path / 'net.pt'}'"
    )
    assert not [file for file in tmp_path.iterdir() if "net" in file.name]


def test_frames_that_cannot_be_read(lsabinet, tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "a.png").write_bytes(b"no image")
    status, captured = lsabinet(
        "--to", "torchscript", "--out", tmp_path / "net.pt", "--verify", "--frames", tmp_path / "frames"
    )
    assert status == 1
    assert "readable frame, got none" in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "net.pt").exists()


def test_int8_is_verified_on_frames_not_used_for_calibration(lsabinet, tmp_path, monkeypatch, openvino_defaults):
    """Tests the choice of frames and the comparison with fp32; other tests cover the quantisation itself."""
    openvino_defaults("f32")
    seen = {}

    def pretend(model, images, count, keep):
        seen.update(shapes=[image.shape for image in images], count=count, keep=keep)
        return model.clone()

    monkeypatch.setattr(quantize, "quantize", pretend)
    out = tmp_path / "int8.xml"
    arguments = ("--to", "openvino", "--precision", "int8", "--out", out, "--verify", "--dataset", "synthetic")
    arguments += ("--split", "val", "--calibration-frames", "3", "--limit", "2", "--keep-floating", ".*stem.*")
    status, captured = lsabinet(*arguments)
    assert status == 0, captured.err
    assert seen == {"shapes": [(96, 128, 3)] * 3, "count": 3, "keep": (".*stem.*",)}
    info = open_artefact(out).info
    assert info.calibration["frames"] == "synthetic val, 3 of 100 frames"
    assert info.parity["count"] == 2
    assert info.parity["miou_int8"] == pytest.approx(info.parity["miou_fp32"], abs=1e-3)
    assert "mIoU on 2 frames (synthetic val, not used for calibration)" in captured.out

    status, captured = lsabinet(*arguments, "--output", "mask", "--verify-split", "test")
    assert status == 0, captured.err
    assert "mIoU on 2 frames (synthetic test, not used for calibration)" in captured.out
    masked = open_artefact(out).info
    assert masked.output == "mask"
    assert masked.precision == "int8"
    # The masks of the export and of the reference are both upsampled with nearest neighbours.
    assert masked.parity["miou_int8"] == pytest.approx(masked.parity["miou_fp32"], abs=1e-3)

    out.unlink()
    monkeypatch.setattr(verb, "MAX_MIOU_LOSS", -1.0)
    status, captured = lsabinet(*arguments)
    assert status == 1
    assert "int8 loses" in captured.err
    assert "expected at most -100" in captured.err
    assert not out.exists()


@pytest.fixture
def drive(tmp_path, noise_image):
    """A folder of 12 frames; the first pixel of each is its number."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for index in range(12):
        image = noise_image(index, (96, 128))
        image[0, 0] = index
        cv2.imwrite(str(folder / f"{index:02d}.png"), image)
    return folder


@pytest.mark.parametrize("output", ["logits", "mask"])
def test_int8_from_a_drive_without_labels(lsabinet, tmp_path, drive, monkeypatch, openvino_defaults, output):
    """Tests the choice of frames and the comparison with fp32; other tests cover the quantisation itself."""
    seen = {}

    def pretend(model, images, count, keep):
        seen.update(numbers=[int(image[0, 0, 0]) for image in images], count=count)
        return model.clone()

    monkeypatch.setattr(quantize, "quantize", pretend)
    openvino_defaults("f32")
    out = tmp_path / "int8.xml"
    arguments = ("--to", "openvino", "--precision", "int8", "--out", out, "--frames", drive, "--output", output)
    status, captured = lsabinet(*arguments)
    assert status == 0, captured.err
    # Every fourth frame is held out for verification.
    assert seen == {"numbers": [1, 2, 3, 5, 6, 7, 9, 10, 11], "count": 9}
    info = open_artefact(out).info
    assert info.output == output
    assert info.calibration["frames"] == f"{drive}, 9 of 12 frames"
    assert info.parity["count"] == 3
    assert info.parity["pixel_agreement"] > 0.999
    assert info.parity["mask_miou"] > 0.99
    assert "mIoU of the masks" in captured.out

    # With a lower limit, fewer frames are kept, spread over the whole drive.
    status, captured = lsabinet(*arguments, "--calibration-frames", "3", "--limit", "1")
    assert status == 0, captured.err
    assert seen == {"numbers": [4, 8], "count": 2}
    assert open_artefact(out).info.parity["count"] == 1


def test_int8_that_differs_from_fp32_is_rejected(lsabinet, tmp_path, drive, monkeypatch):
    """Logits with the opposite sign simulate a failed quantisation."""

    def spoil(model, images, count, keep):
        from openvino import opset13

        spoilt = model.clone()
        result = spoilt.get_results()[0]
        logits = result.input_value(0)
        result.input(0).replace_source_output(opset13.negative(logits).output(0))
        spoilt.validate_nodes_and_infer_types()
        return spoilt

    monkeypatch.setattr(quantize, "quantize", spoil)
    out = tmp_path / "int8.xml"
    status, captured = lsabinet("--to", "openvino", "--precision", "int8", "--out", out, "--frames", drive)
    assert status == 1
    assert "int8 differs from fp32 on 3 held-out frames" in captured.err
    assert "expected 97 %" in captured.err
    assert not out.exists()
    # A single frame cannot serve for both calibration and verification.
    for path in sorted(drive.iterdir())[1:]:
        path.unlink()
    # There is no room for so many frames, nor need for it.
    most = ("--calibration-frames", "2147483647")
    status, captured = lsabinet("--to", "openvino", "--precision", "int8", "--out", out, "--frames", drive, *most)
    assert status == 1
    assert "at least 2 readable frames" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "openvino", "--precision", "int8"], "add --frames DRIVE"),
        (["--to", "onnx", "--precision", "int8"], "int8 is supported for openvino only"),
        (["--to", "onnx", "--out", "net.xml"], "file ending in .onnx, got net.xml"),
        (["--to", "openvino", "--size", "32x32"], "at least 64x64"),
        (["--to", "tensorrt", "--batch", "dynamic"], "a number, such as --batch 1"),
        (["--to", "torchscript", "--out", "net.pt", "--verify", "--dataset", "camvid"], "--root DIR"),
        (["--to", "torchscript"], "give the file to write"),
        (["--to", "onnx", "--batch", "2"], "give the file to write"),
        (["--to", "openvino", "--output", "mask"], "give the file to write"),
        (["--to", "onnx", "--limit", "2"], "--limit requires --verify"),
        (["--to", "onnx", "--verify", "--keep-floating", "a"], "--keep-floating requires --precision int8"),
        (["--to", "openvino", "--precision", "int8", "--verify-split", "val"], "--verify-split requires --verify"),
        (["--to", "openvino", "--precision", "int8", "--frames", "nowhere"], "no input 'nowhere'"),
        (
            ["--to", "openvino", "--precision", "int8", "--frames", "a", "--verify-split", "val", "--verify"],
            "--verify-split has no effect together with --frames",
        ),
        (["--to", "openvino", "--precision", "int8", "--limit", "2"], "--limit requires --verify"),
        (["--to", "onnx", "--verify", "--frames", "a", "--root", "b"], "--root has no effect together with --frames"),
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
            "--verify-split train is the calibration split",
        ),
    ],
)
def test_errors_are_one_line(lsabinet, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, captured = lsabinet(*arguments)
    assert status == 1
    assert message in captured.err
    assert captured.err.strip().splitlines()[-1].startswith("lsabinet: error: ")
    assert "Traceback" not in captured.err
    assert not list(tmp_path.glob("net*"))


def test_usage_errors(lsabinet):
    for arguments in (["--to", "caffe"], ["--to", "onnx", "--batch", "0"], ["--to", "onnx", "--size", "96"], []):
        with pytest.raises(SystemExit, match="2"):
            lsabinet(*arguments)
