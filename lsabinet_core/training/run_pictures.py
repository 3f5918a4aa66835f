"""Pictures and a per-class table for the folder of a finished run.

pictures/samples.png     input, label, prediction and errors of some validation images
pictures/confusion.png   confusion matrix of the last validation
pictures/curves.png      loss, learning rate and validation mIoU
classes.md               per-class figures of the last validation
"""

from pathlib import Path

import numpy as np
import torch

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.errors import TrainingError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.files import write_text
from lsabinet_core.inference import Segmenter
from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.weights import WeightsMetadata
from lsabinet_core.plots.confusion import draw_confusion
from lsabinet_core.plots.curves import Curve, draw_run
from lsabinet_core.plots.samples import draw_samples, spread
from lsabinet_core.text_table import markdown_table, percent

from .run_folder import RunFolder
from .run_history import RunHistory, read_history

SAMPLES = 6


def write_pictures(
    run: RunFolder,
    model: SegmentationNetwork,
    metadata: WeightsMetadata,
    val: SegmentationDataset,
    device: torch.device,
) -> None:
    """Write the files above. The metrics come from the run's records, and only the samples are segmented.

    Args:
        run: the folder of a run with at least one validation.
        model: the network of the last validation.
        metadata: classes, training size and normalisation of the network.
        val: the validation split.
        device: device on which the samples are segmented.

    Raises:
        LsabinetError: the run has no validation record, or matplotlib is missing (the table and the samples are still
            written).
    """
    history = read_history(run.path)
    if not history.validations:
        raise TrainingError(f"{run.path} has no validation records: nothing to draw")
    names = metadata.label_set.names
    confusion = ConfusionMatrix(len(names))
    confusion.matrix += np.asarray(history.validations[-1]["val"]["confusion_matrix"], np.int64)
    title = f"{metadata.architecture} on {val.name} {val.split}, iteration {history.validations[-1]['iteration']}"
    write_text(run.path / "classes.md", class_table(confusion, names, title))

    samples = [val.sample(index) for index in spread(len(val), SAMPLES)]
    with Segmenter(model, metadata, device=str(device), precision="fp32", backend="torch") as segmenter:
        masks = [segmenter.segment(sample.image, confidence=False).mask for sample in samples]
    pictures = run.path / "pictures"
    draw_samples(pictures / "samples.png", samples, masks, metadata.label_set)
    draw_confusion(pictures / "confusion.png", confusion.matrix, names, title=title)
    _draw_curves(pictures / "curves.png", history)


def class_table(confusion: ConfusionMatrix, names: tuple[str, ...], title: str) -> str:
    """Markdown table of IoU, recall, precision, pixel count and most frequent confusion of each class."""
    matrix, support, shares = confusion.matrix, confusion.support, confusion.normalised
    labelled = max(support.sum(), 1)
    rows = []
    for index, name in enumerate(names):
        missed = np.where(np.arange(len(names)) == index, 0, matrix[index])
        wrong = int(missed.argmax())
        rows.append(
            [
                name,
                percent(confusion.iou_per_class[index]),
                percent(confusion.accuracy_per_class[index]),
                percent(confusion.precision_per_class[index]),
                f"{support[index]:,}",
                percent(support[index] / labelled),
                f"{names[wrong]} ({percent(shares[index, wrong])} %)" if missed[wrong] else "-",
            ]
        )
    header = ["class", "IoU %", "recall %", "precision %", "pixels", "share %", "most often mistaken for"]
    table = markdown_table(header, rows, (header[0], header[-1]))
    means = f"mIoU {percent(confusion.miou)} %, pixel accuracy {percent(confusion.pixel_accuracy)} %"
    return f"# {title}\n\n{table}\n\n{means}\n"


def _draw_curves(path: Path, history: RunHistory) -> None:
    iterations = history.series("iteration")
    per_epoch = f" ({history.epoch_iterations} per epoch)" if history.epoch_iterations else ""
    draw_run(
        path,
        Curve("loss", iterations, history.series("loss")),
        Curve("learning rate", iterations, history.series("lr")),
        Curve("mIoU", history.validation_iterations, 100 * history.miou),
        title=history.recipe.get("description") or history.path.resolve().name,
        x_label=f"iteration{per_epoch}",
        # The loss of a single batch is noisy: smooth it to about fifty distinct points.
        smooth=max(1, len(iterations) // 50),
    )
