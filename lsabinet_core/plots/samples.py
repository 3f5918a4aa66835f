"""A grid of images with input, truth, prediction and errors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lsabinet_core.data.sample import Sample
from lsabinet_core.labels import VOID, LabelSet

from .panels import (
    BLACK,
    NOT_COUNTED,
    WRONG,
    Panel,
    class_keys,
    error_map,
    fit,
    label_picture,
    panel_size,
    sheet,
    write_picture,
)


def spread(length: int, count: int) -> list[int]:
    """Return at most ``count`` evenly spaced indices of 0..length - 1: the centres of equal intervals."""
    count = min(count, length)
    return [(2 * place + 1) * length // (2 * count) for place in range(count)]


def draw_samples(path: str | Path, samples: Sequence[Sample], masks: Sequence[np.ndarray], label_set: LabelSet) -> None:
    """Draw one row per image: the image, its label, the mask, and the errors.

    Args:
        path: file to write, .png or .jpg.
        samples: at least one sample; without a label, the label and errors are grey.
        masks: the mask of each sample, uint8 (H, W).
        label_set: classes and colours.
    """
    size = panel_size([sample.image for sample in samples])
    rows = []
    for sample, mask in zip(samples, masks, strict=True):
        image, truth, prediction = (
            fit(sample.image, size),
            label_picture(sample.label, size, label_set),
            label_picture(mask, size, label_set),
        )
        errors, caption = label_picture(None, size, label_set), "no truth"
        if sample.label is not None:
            errors = fit(error_map(sample.image, sample.label, mask), size)
            caption = _share_wrong(sample.label, mask)
        rows.append([Panel(image), Panel(truth), Panel(prediction), Panel(errors, caption)])
    picture = sheet(
        rows,
        size=size,
        row_titles=[sample.name for sample in samples],
        column_titles=["input", "truth", "prediction", "errors"],
        keys=[*class_keys(label_set), ("void", BLACK), ("wrong", WRONG), ("not counted", NOT_COUNTED)],
    )
    write_picture(path, picture)


def _share_wrong(label: np.ndarray, mask: np.ndarray) -> str:
    known = label != VOID
    if not known.any():
        return "no labelled pixel"
    return f"{100 * np.mean(mask[known] != label[known]):.1f} % of the labelled pixels wrong"
