"""Test-time augmentation against the same mean computed in plain torch."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lsabinet_core.errors import FrameError, ModelError
from lsabinet_core.evaluation.augmented import AugmentedSegmenter, scaled_size
from lsabinet_core.inference import Segmenter
from lsabinet_core.models.weights import load_weights


@pytest.fixture(scope="module")
def segmenter(random_weights):
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def plain_probabilities(random_weights):
    """(frame, (H, W) of the network's input) -> softmax (C, h, w) at the frame's size, with torch alone."""
    model, metadata = load_weights(random_weights)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (metadata.mean, metadata.std))

    @torch.no_grad()
    def run(frame: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        shrinks = size[0] < frame.shape[0]
        view = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        rgb = torch.from_numpy(view[..., ::-1].copy()).permute(2, 0, 1).float() / 255
        logits = model.eval().low_resolution_logits(((rgb - mean) / std)[None])
        return F.interpolate(logits, size=frame.shape[:2], mode="bilinear", align_corners=False)[0].softmax(0)

    return run


def test_mean_of_scales_and_mirror_images(segmenter, plain_probabilities, noise_image):
    frame = noise_image(5, (96, 128))
    result = AugmentedSegmenter(segmenter, scales=(0.75, 1, 1.25), flip=True).segment([frame])[0]
    views = []
    for size in ((72, 96), (96, 128), (120, 160)):
        views.append(plain_probabilities(frame, size))
        views.append(plain_probabilities(frame[:, ::-1].copy(), size).flip(-1))
    best, ids = torch.stack(views).mean(0).max(0)
    # Pixels with two nearly equal classes may differ.
    assert (result.mask != ids.numpy()).mean() < 1e-3
    expected = (255 * best).round().numpy()
    assert np.abs(result.confidence.astype(float) - expected).max() <= 1
    assert result.mask.dtype == result.confidence.dtype == np.uint8
    assert len(np.unique(result.mask)) > 2


def test_one_view_is_the_plain_segmenter(segmenter, noise_image):
    frame = noise_image(2, (150, 201))
    ours = AugmentedSegmenter(segmenter).segment([frame])[0]
    plain = segmenter.segment(frame)
    assert (ours.mask != plain.mask).mean() < 1e-3
    assert np.abs(ours.confidence.astype(int) - plain.confidence).max() <= 1


def test_flipping_makes_masks_equivariant(segmenter, noise_image):
    """With flipping, the mask of a flipped frame is the flipped mask; without it, this is not guaranteed."""
    frame = noise_image(3, (96, 128))
    mirrored = np.ascontiguousarray(frame[:, ::-1])
    both = AugmentedSegmenter(segmenter, flip=True).segment([frame, mirrored], confidence=False)
    assert (both[0].mask != both[1].mask[:, ::-1]).mean() < 1e-3
    alone = segmenter.segment([frame, mirrored])
    assert (alone[0].mask != alone[1].mask[:, ::-1]).mean() > 1e-3
    assert both[0].confidence is None


def test_description_names_the_augmentation(segmenter):
    augmented = AugmentedSegmenter(segmenter, scales=[0.5, 1], flip=True)
    assert augmented.describe() == {
        **segmenter.describe(),
        "test_time_augmentation": {"scales": [0.5, 1.0], "flip": True},
    }
    assert "test_time_augmentation" not in segmenter.describe()
    assert augmented.label_set == segmenter.label_set
    assert augmented.network_size((480, 640)) == segmenter.network_size((480, 640))


def test_timings_include_every_view(segmenter, noise_image):
    frame = noise_image(1, (96, 128))
    timings = AugmentedSegmenter(segmenter, scales=(1, 1.5)).segment([frame])[0].timings
    assert min(timings.preprocess_ms, timings.inference_ms, timings.postprocess_ms) > 0


@given(st.tuples(st.integers(64, 4096), st.integers(64, 4096)), st.floats(0.1, 4))
def test_scaled_sizes_suit_the_network(size, scale):
    scaled = scaled_size(size, scale)
    if scale == 1:
        assert scaled == size
        return
    for side, old in zip(scaled, size, strict=True):
        assert side % 8 == 0
        assert side >= 64
        assert abs(side - max(64, old * scale)) <= 4


def test_scaled_sizes():
    assert scaled_size((360, 480), 0.75) == (272, 360)
    assert scaled_size((363, 481), 1) == (363, 481)
    assert scaled_size((360, 480), 1.5) == (544, 720)
    assert min(scaled_size((32, 40), 0.1)) >= 8


def test_bad_input(segmenter):
    for scales in ((), (1, 0), (-1,), (float("nan"),), (float("inf"),)):
        with pytest.raises(ModelError, match="scales above 0"):
            AugmentedSegmenter(segmenter, scales=scales)
    with pytest.raises(FrameError, match="colour frame"):
        AugmentedSegmenter(segmenter).segment([np.zeros((20, 20), np.uint8)])
