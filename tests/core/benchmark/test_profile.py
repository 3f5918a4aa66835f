"""``profile_inference`` on PyTorch and OpenVINO: the work of each part matches an independent count."""

import numpy as np
import pytest
import torch
from torch import nn

from lsabinet_core.benchmark import profile
from lsabinet_core.benchmark.candidates import Candidate
from lsabinet_core.benchmark.profile import group_of, part_of, profile_inference
from lsabinet_core.benchmark.roofline import Roofline, measure_roofline
from lsabinet_core.errors import BackendError
from lsabinet_core.models import create_model

TINY = (64, 96)


@pytest.fixture(autouse=True)
def _small_roofline(monkeypatch):
    monkeypatch.setattr("lsabinet_core.benchmark.roofline.COPIED_BYTES", 1 << 20)
    monkeypatch.setattr("lsabinet_core.benchmark.roofline.SIDE", 128)


@pytest.fixture(scope="module")
def macs_by_part():
    """Multiply-accumulates of the convolutions in each part of LSA-BiNet, computed from their output shapes."""
    model, counted = create_model("lsabinet", 11).eval(), {}

    def count(path, module, output):
        kernel = np.prod(module.kernel_size) * module.in_channels // module.groups
        part = part_of(path)
        counted[part] = counted.get(part, 0) + output.numel() * kernel

    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, _, output, path=path: count(path, module, output))
    with torch.no_grad():
        model(torch.zeros(1, 3, *TINY))
    return counted


def test_parts_and_groups_of_operators():
    assert part_of("network.backbone.block1.0.expand") == part_of("backbone.block2.3") == "block"
    assert part_of("decoder.mixer.0") == "decoder"
    assert part_of("backbone") == "backbone"
    assert part_of("") == ""
    assert group_of("stem", "Convolution") == "stem"
    assert group_of("decoder", "Interpolate") == group_of("", "upsample_bilinear2d") == "resize"
    assert group_of("svfm", "Reorder") == group_of("", "_to_copy") == "conversion"
    assert group_of("", "Add") == "other"


def test_bounds_match_hand_computed_values():
    roofline = Roofline(10.0, {"fp32": 100.0, "bf16": 400.0})
    # Moving 20 MB at 10 GB/s takes 2 ms; 1 GMAC takes 10 ms in fp32 and 2.5 ms in bf16.
    assert roofline.bound_ms(20.0, 0.1, "fp32") == pytest.approx(2.0)
    assert roofline.bound_ms(20.0, 1.0, "fp32") == pytest.approx(10.0)
    assert roofline.bound_ms(20.0, 1.0, "bf16") == pytest.approx(2.5)
    found = measure_roofline(["fp32", "int8"])
    assert found.gb_per_s > 0
    assert set(found.gmacs_per_s) == {"fp32", "int8"}
    assert min(found.gmacs_per_s.values()) > 0
    with pytest.raises(BackendError, match="expected a precision of fp32, bf16, int8 to profile, got fp16"):
        measure_roofline(["fp32", "fp16"])


@pytest.fixture(scope="module")
def eager():
    return profile_inference([Candidate("lsabinet", "eager", "fp32", TINY)], runs=3, threads=1)


def test_eager(eager, macs_by_part):
    (found,) = eager["profiles"]
    groups = {row["name"]: row for row in found["groups"]}
    for part, macs in macs_by_part.items():
        assert groups[part]["gmacs"] == pytest.approx(macs / 1e9, rel=1e-6)
    assert set(groups) >= {"stem", "block", "down", "lrfa", "svfm", "decoder", "resize"}
    assert found["ms"] == pytest.approx(sum(operator["ms"] for operator in found["operators"]))
    assert sum(row["ms"] for row in found["groups"]) == pytest.approx(found["ms"])
    assert sum(row["share"] for row in found["kinds"]) == pytest.approx(1)
    assert [row["ms"] for row in found["groups"]] == sorted((row["ms"] for row in found["groups"]), reverse=True)
    # The first convolution moves the image, the weights and the output, in fp32.
    first = next(operator for operator in found["operators"] if operator["kind"] == "convolution")
    assert first["mbytes"] == pytest.approx(4 * (3 * 64 * 96 + 32 * 3 * 9 + 32 * 32 * 48) / 1e6)


def test_hooks_are_removed_from_the_network():
    model = create_model("dabnet", 11).eval()
    counter = profile._Counter(model)
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, *TINY))
    assert counter.take()
    counter.remove_hooks()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_openvino(macs_by_part, monkeypatch):
    monkeypatch.setattr("lsabinet_core.inference.backends.openvino_.use_winograd", lambda model: None)
    (found,) = profile_inference([Candidate("lsabinet", "openvino", "fp32", TINY)], runs=2, threads=1)["profiles"]
    groups = {row["name"]: row for row in found["groups"]}
    assert groups["stem"]["gmacs"] == pytest.approx(macs_by_part["stem"] / 1e9, rel=1e-6)
    # The deployed network computes some operators at a lower resolution, so its counts are slightly smaller.
    for part in ("block", "decoder"):
        assert groups[part]["gmacs"] == pytest.approx(macs_by_part[part] / 1e9, rel=0.05)
    assert found["ms"] > 0
    assert {operator["kind"] for operator in found["operators"]} >= {"Convolution", "Reorder"}
    assert any("avx" in operator["kernel"] or "jit" in operator["kernel"] for operator in found["operators"])


def test_operators_of_the_winograd_rewrite_are_assigned_to_parts():
    """Their names do not contain the name of a module."""
    candidate = Candidate("lsabinet", "openvino", "fp32", TINY)
    (found,) = profile_inference([candidate], runs=1, threads=1)["profiles"]
    unnamed = [operator for operator in found["operators"] if operator["name"].startswith("Convolution_")]
    assert {operator["group"] for operator in unnamed} == {"block", "decoder"}
    assert "other" not in {row["name"] for row in found["groups"]}


def test_unsupported_backend_is_rejected():
    with pytest.raises(BackendError, match="expected backend to be eager or openvino to profile, got 'torch'"):
        profile_inference([Candidate("lsabinet", "torch", "fp32", TINY)])
