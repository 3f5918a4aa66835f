"""Comparison of several networks on the same images: input, label, one row per network, outlined differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lsabinet_core.data.sample import Sample
from lsabinet_core.labels import VOID, LabelSet

from .panels import BLACK, Panel, class_keys, fit, label_picture, outline, panel_size, sheet, write_picture


def draw_comparison(
    path: str | Path,
    samples: Sequence[Sample],
    predictions: Mapping[str, Sequence[np.ndarray]],
    label_set: LabelSet,
    size: tuple[int, int] | None = None,
) -> None:
    """Draw one column per image and one row per network.

    Differences from the label are outlined, or differences from the first network for an image without a label.

    Args:
        path: file to write, .png or .jpg.
        samples: at least one sample; labels may be None.
        predictions: masks of each network by its name, uint8 (H, W), in the order of ``samples``.
        label_set: the common classes of all networks.
        size: (height, width) of each image on the sheet; None for a width of 320.
    """
    size = panel_size([sample.image for sample in samples], size)
    labelled = any(sample.label is not None for sample in samples)
    first = next(iter(predictions))
    rows, titles = [[Panel(fit(sample.image, size)) for sample in samples]], ["input"]
    if labelled:
        rows.append([Panel(label_picture(sample.label, size, label_set)) for sample in samples])
        titles.append("truth")
    for name, masks in predictions.items():
        row = []
        for sample, mask, reference in zip(samples, masks, predictions[first], strict=True):
            if sample.label is not None:
                row.append(_prediction(mask, sample.label, size, label_set, "wrong"))
            elif name != first:
                row.append(_prediction(mask, reference, size, label_set, f"unlike {first}"))
            else:
                row.append(Panel(label_picture(mask, size, label_set)))
        rows.append(row)
        titles.append(name)
    keys = class_keys(label_set)
    if labelled:
        keys.append(("void (not counted)", BLACK))
    what = "where a network differs from the truth" if labelled else f"where a network differs from {first}"
    alone = len(predictions) == 1 and not labelled
    picture = sheet(
        rows,
        size=size,
        row_titles=titles,
        column_titles=[sample.name for sample in samples],
        keys=keys,
        note="" if alone else f"White line: {what} (slivers along edges are left out of the line, not of the share).",
    )
    write_picture(path, picture)


def _prediction(
    mask: np.ndarray, reference: np.ndarray, size: tuple[int, int], label_set: LabelSet, word: str
) -> Panel:
    """Draw the mask with outlined differences from ``reference``, and their percentage of the non-void pixels."""
    known = reference != VOID
    different = known & (mask != reference)
    share = 100 * different.sum() / max(int(known.sum()), 1)
    marked = fit(different.astype(np.uint8), size).astype(bool)
    return Panel(outline(label_picture(mask, size, label_set), marked), f"{share:.1f} % {word}")
