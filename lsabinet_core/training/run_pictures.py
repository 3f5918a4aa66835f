"""What a finished run looks like: pictures and a per-class table in its folder.

pictures/samples.png     input, truth, prediction and errors of some validation images
pictures/confusion.png   confusion matrix of the last validation
pictures/curves.png      loss, learning rate and validation mIoU
classes.md               per-class figures of the last validation
"""

import numpy as np
import torch
from torch import nn

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.errors import TrainingError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.files import write_text
from lsabinet_core.inference import Segmenter
from lsabinet_core.models.weights import WeightsMetadata
from lsabinet_core.plots.confusion import draw_confusion
from lsabinet_core.plots.curves import Curve, draw_run
from lsabinet_core.plots.samples import draw_samples, spread

from .run_folder import RunFolder
from .run_history import RunHistory, read_history

SAMPLES = 6


def write_pictures(
    run: RunFolder, model: nn.Module, metadata: WeightsMetadata, val: SegmentationDataset, device: torch.device
) -> None:
    """Write the files above; the figures come from the run's records, only the samples are segmented.

    Args:
        run: the folder of a run with at least one validation.
        model: the network of the last validation.
        metadata: its classes, training size and normalisation.
        val: what it was validated on.
        device: where to segment the samples.

    Raises:
        LsabinetError: no validation in the records, or matplotlib is missing (the table and the samples are written
            all the same).
    """
    history = read_history(run.path)
    if not history.validations:
        raise TrainingError(f"{run.path} has no validation in its records: nothing to draw")
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
    """Markdown: for each class IoU, recall and precision in percent, labelled pixels, and what it is taken for most."""
    matrix, support = confusion.matrix, confusion.support
    shares = confusion.normalised
    lines = [
        f"# {title}",
        "",
        "| class | IoU % | recall % | precision % | pixels | share % | most often taken for |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    labelled = max(support.sum(), 1)
    for index, name in enumerate(names):
        missed = np.where(np.arange(len(names)) == index, 0, matrix[index])
        wrong = int(missed.argmax())
        taken = f"{names[wrong]} ({_percent(shares[index, wrong])} %)" if missed[wrong] else "-"
        figures = (
            _percent(confusion.iou_per_class[index]),
            _percent(confusion.accuracy_per_class[index]),
            _percent(confusion.precision_per_class[index]),
            f"{support[index]:,}",
            _percent(support[index] / labelled),
        )
        lines.append(f"| {name} | {' | '.join(figures)} | {taken} |")
    lines += ["", f"mIoU {_percent(confusion.miou)} %, pixel accuracy {_percent(confusion.pixel_accuracy)} %"]
    return "\n".join(lines) + "\n"


def _percent(fraction: float) -> str:
    return "-" if np.isnan(fraction) else f"{100 * fraction:.2f}"


def _draw_curves(path, history: RunHistory) -> None:
    iterations = history.series("iteration")
    per_epoch = f" ({history.epoch_iterations} per epoch)" if history.epoch_iterations else ""
    draw_run(
        path,
        Curve("loss", iterations, history.series("loss")),
        Curve("learning rate", iterations, history.series("lr")),
        Curve("mIoU", history.validation_iterations, 100 * history.miou),
        title=history.recipe.get("description") or history.path.resolve().name,
        x_label=f"iteration{per_epoch}",
        # Losses of single batches jump: some fifty places remain to be told apart.
        smooth=max(1, len(iterations) // 50),
    )
