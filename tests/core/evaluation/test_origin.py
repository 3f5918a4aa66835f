"""Detection by name of splits that weights were trained on, and the line that describes the origin of metrics."""

import pytest

from lsabinet_core.evaluation.origin import describe_origin, has_learned_from


@pytest.mark.parametrize(
    ("trained_on", "split", "seen"),
    [
        ("camvid train", "train", True),
        ("camvid train", "val", False),
        ("camvid train", "trainval", True),
        ("camvid trainval", "val", True),
        ("camvid trainval", "test", False),
        ("camvid trainval", "drives:0006R0:val", True),
        ("camvid drives:0006R0:train", "drives:0006R0:val", False),
        ("camvid drives:0006R0:train", "drives:0006R0:train", True),
        ("camvid drives:0006R0:train", "drives:0001TP:val", True),
        ("camvid drives:0006R0:train", "val", True),
        ("cityscapes train", "train", False),
        ("cityscapes train + camvid trainval", "val", True),
        ("camvid train + synthetic val", "val", False),
        ("unknown", "val", False),
        ("", "val", False),
    ],
)
def test_has_learned_from(trained_on, split, seen):
    assert has_learned_from(trained_on, "camvid", split) is seen


def test_describe_origin():
    details = {"weights": "w", "dataset": "camvid", "split": "val", "network_sizes": [[360, 480]]}
    assert describe_origin(details) == "w on camvid val at 360x480"
    assert describe_origin({**details, "precision": "bf16"}) == "w on camvid val at 360x480 in bf16"

    def with_views(scales, flip):
        return describe_origin({**details, "test_time_augmentation": {"scales": scales, "flip": flip}})

    assert with_views([1.0], True) == "w on camvid val at 360x480, mean over images and mirror images"
    assert with_views([0.5, 1.0], False) == "w on camvid val at 360x480, mean over scales 0.5, 1"
    assert with_views([0.5], True) == "w on camvid val at 360x480, mean over scales 0.5 and mirror images"
    assert describe_origin({"bag": "drive.mcap", "weights": "w"}) == ""
