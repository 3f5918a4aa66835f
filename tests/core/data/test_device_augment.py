"""Batched augmentation on the device against OpenCV's view of each sample."""

import numpy as np
import pytest
import torch

from lsabinet_core.data.augment import Augmentation, apply_view, draw_view, scaled_size
from lsabinet_core.data.device_augment import DeviceAugmentation

FILL = (10, 120, 230)
SIZE = (72, 96)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def both(noise_image, settings, size=SIZE, count=24):
    """Return the images and labels augmented by OpenCV and on the device, as numpy arrays."""
    images = np.stack([noise_image(seed, size) for seed in range(count)])
    labels = (images[..., 1] // 24).astype(np.uint8)
    views = [draw_view(settings, size, np.random.default_rng(seed)) for seed in range(len(labels))]
    made = [apply_view(*pair, view, settings.crop_size, FILL) for *pair, view in zip(images, labels, views)]
    device = DeviceAugmentation(settings, size, FILL, DEVICE)
    result = device(torch.from_numpy(images).to(DEVICE), torch.from_numpy(labels).to(DEVICE), views)
    expected = [np.stack(parts) for parts in zip(*made)]
    got = [tensor.cpu().numpy() for tensor in result]
    assert all(a.dtype == b.dtype == np.uint8 and a.shape == b.shape for a, b in zip(expected, got))
    return expected, got


@pytest.mark.parametrize("crop_size", [(48, 64), (72, 96), (90, 101), (60, 130)])
def test_unscaled_views_are_bit_equal(noise_image, crop_size):
    expected, got = both(noise_image, Augmentation(crop_size=crop_size))
    assert np.array_equal(expected[0], got[0])
    assert np.array_equal(expected[1], got[1])


@pytest.mark.parametrize("scale", [0.5, 0.6, 0.75, 0.9, 1.1, 1.25, 1.5, 1.75, 2.0])
@pytest.mark.parametrize("crop_size", [(40, 50), (72, 96)])
def test_scaled_views_differ_by_rounding(noise_image, scale, crop_size):
    expected, got = both(noise_image, Augmentation(crop_size=crop_size, scales=(scale,)), count=8)
    difference = np.abs(expected[0].astype(int) - got[0])
    assert difference.max() <= 1
    assert difference.mean() < 0.3
    assert np.array_equal(expected[1], got[1])


def test_colours_differ_by_rounding(noise_image):
    settings = Augmentation(
        crop_size=(60, 110),
        scales=(0.75, 1.0, 1.5),
        brightness=0.3,
        contrast=0.3,
        saturation=0.4,
        hue=15,
        white_balance=0.2,
    )
    expected, got = both(noise_image, settings)
    difference = np.abs(expected[0].astype(int) - got[0])
    assert difference.max() <= 3
    assert difference.mean() < 0.5
    assert np.array_equal(expected[1], got[1])
    plain = both(noise_image, settings.model_copy(update=dict.fromkeys(("contrast", "hue"), 0.0)))[0][0]
    assert np.abs(expected[0].astype(int) - plain).mean() > 5


@pytest.mark.parametrize("scale", [0.75, 1.25, 1.75])
def test_labels_stay_aligned_with_the_image(scale):
    """A straight edge has the same position in image and label, to half a pixel."""
    image, label = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    image[:, 31:] = 255
    label[:, 31:] = 1
    size = scaled_size((64, 64), scale)
    settings = Augmentation(crop_size=size, scales=(scale,), mirror=0)
    view = draw_view(settings, (64, 64), np.random.default_rng(0))
    resized, moved = apply_view(image, label, view, size, FILL)
    assert abs(resized[0, :, 0].astype(float).sum() / 255 - int(moved[0].sum())) <= 0.5
    assert abs(31 * scale - int((moved[0] == 0).sum())) <= 0.5
