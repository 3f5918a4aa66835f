"""Plot of the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .style import new_figure, put_text, save_figure


def draw_confusion(path: str | Path, matrix: np.ndarray, names: Sequence[str], *, title: str = "Confusion") -> None:
    """Draw the row-normalised confusion matrix in percent, one row per true class.

    Values below 0.5 % are omitted; the row of a class without pixels is grey.

    Args:
        path: file to write, .png, .pdf or .svg.
        matrix: integer (C, C), ``[true, predicted]`` pixel counts.
        names: C class names.
        title: title above the matrix.

    Raises:
        ValueError: the matrix is not (C, C).
    """
    matrix = np.asarray(matrix, np.float64)
    classes = len(names)
    if matrix.shape != (classes, classes):
        raise ValueError(f"expected a matrix of shape {(classes, classes)} for {classes} names, got {matrix.shape}")
    support = matrix.sum(axis=1)
    share = np.divide(100 * matrix, support[:, None], out=np.full_like(matrix, np.nan), where=support[:, None] > 0)
    figure = new_figure(3.2 + 0.52 * classes, 2.4 + 0.44 * classes)
    axes = figure.add_subplot()
    axes.set_facecolor("#BBBBBB")
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in np.argwhere(share >= 0.5):
        axes.text(
            column,
            row,
            f"{share[row, column]:.0f}",
            horizontalalignment="center",
            verticalalignment="center",
            color="white" if share[row, column] > 55 else "black",
            fontweight="bold" if row == column else "normal",
            fontsize=9,
        )
    total = max(support.sum(), 1)
    # Minor ticks between the cells carry the white grid.
    axes.set_xticks(np.arange(classes - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(classes - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.set_xticks(range(classes), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    rows = [f"{name}  ({100 * count / total:.1f} %)" for name, count in zip(names, support, strict=True)]
    axes.set_yticks(range(classes), rows, parse_math=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (its share of the labelled pixels)")
    put_text(axes.set_title(""), title)
    figure.colorbar(image, ax=axes, label="share of the true class's pixels (%)", fraction=0.04, pad=0.02)
    save_figure(figure, path)
