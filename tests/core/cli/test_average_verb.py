"""``lsabinet average``: the file that it writes, and its errors."""

import shutil

import torch

from lsabinet_core.cli import main
from lsabinet_core.models.weights import find_weights, load_weights


def test_the_average_is_saved(tmp_path, capsys):
    files, out = ["lsabinet_camvid", "lsabinet_camvid_train"], tmp_path / "average.safetensors"
    assert main(["average", *files, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    (first, _), (second, _), (found, metadata) = map(load_weights, [*files, out])
    key = "decoder.classify.weight"
    expected = (first.state_dict()[key] + second.state_dict()[key]) / 2
    torch.testing.assert_close(found.state_dict()[key], expected, rtol=1e-3, atol=1e-6)
    assert [run["file"] for run in metadata.training["average_of"]] == files


def test_the_inputs_are_kept(tmp_path, capsys):
    copy = tmp_path / "copy.safetensors"
    shutil.copy(find_weights("lsabinet_camvid"), copy)
    before = copy.read_bytes()
    assert main(["average", str(copy), "lsabinet_camvid_train", "--out", str(copy)]) == 1
    assert "replace" in capsys.readouterr().err
    assert copy.read_bytes() == before


def test_errors(tmp_path, capsys):
    for words, expected in (
        (["lsabinet_camvid", "lsabinet_camvid_train", "--out", str(tmp_path / "x.pt")], ".safetensors"),
        (["lsabinet_camvid", "--out", str(tmp_path / "x.safetensors")], "two"),
        (["lsabinet_camvid", "none", "--out", str(tmp_path / "x.safetensors")], "none"),
    ):
        assert main(["average", *words]) == 1
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
