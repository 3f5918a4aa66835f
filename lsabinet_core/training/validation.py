"""Validates the network of a run and writes its weights files."""

from typing import Any

import torch
from torch import nn

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.evaluation.report import Report
from lsabinet_core.inference.forks import claim_process
from lsabinet_core.inference.segmenter import Segmenter
from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.weights import WeightsMetadata, save_weights

from .recipe import Recipe
from .run_folder import RunFolder
from .samples import KeptSamples

GPU_BATCH = 8
"""Batch size of validation on a GPU; a CPU validates single images, which is no slower."""


class Validation:
    """Measures the network that the run ships (the average, if any) and writes the weights files.

    ``last.safetensors`` holds the trained network, ``ema.safetensors`` its average (with ``ema_decay`` only), and
    ``best.safetensors`` the validated one of these two at its highest mIoU so far. The ``training`` entry of their
    metadata has ``weights`` ("last", "ema" or "best"), ``averaged`` (whether it is the average) and ``val_miou``, the
    mIoU; the mIoU is called ``seen_miou`` if the validation images were also used for training.

    Args:
        recipe: recipe of the run.
        run: output folder.
        train: training split.
        val: validation split.
        device: device of the validation.

    Raises:
        DatasetError: ``val`` has no labels, like Cityscapes' test split, or its first image cannot be read.
        BackendError: the process was forked from one that had already run a network.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunFolder,
        train: SegmentationDataset,
        val: SegmentationDataset,
        device: torch.device,
    ):
        self.recipe = recipe
        self.run = run
        self.train = train
        self.val = val
        self.device = device
        # In a forked process, the first training step would hang before the Segmenter of the first validation could
        # report the fork, so check it now.
        claim_process()
        # Check now rather than at the first validation.
        if val.sample(0).label is None:
            raise DatasetError(f"expected labelled images to validate on, {val.name} {val.split} has no labels")
        self.seen = _share_images(train, val)
        self._kept = KeptSamples(val)

    def measure(self, network: SegmentationNetwork) -> Report:
        """Measure ``network`` on the whole validation split, in fp32; the images stay cached for the next call."""
        batch_size = GPU_BATCH if self.device.type == "cuda" else 1
        with Segmenter(
            network, self.metadata(), device=str(self.device), precision="fp32", backend="torch"
        ) as segmenter:
            return evaluate(segmenter, self._kept, batch_size=batch_size)

    def save(self, model: nn.Module, average: nn.Module | None, miou: float | None, best: bool, facts: dict) -> None:
        """Write the weights files.

        Args:
            model: the trained network.
            average: the network with averaged weights, if any.
            miou: mIoU of the average, or of ``model`` if there is no average; None if undefined.
            best: whether it is the highest mIoU so far.
            facts: facts about the run for the metadata.
        """
        validated = model if average is None else average
        figures = {**facts, "averaged": average is not None, "seen_miou" if self.seen else "val_miou": miou}
        if average is None:
            save_weights(self.run.last, model, self.metadata(weights="last", **figures))
        else:
            save_weights(self.run.last, model, self.metadata(weights="last", averaged=False, **facts))
            save_weights(self.run.ema, validated, self.metadata(weights="ema", **figures))
        if best:
            save_weights(self.run.best, validated, self.metadata(weights="best", **figures))

    def metadata(self, **facts: Any) -> WeightsMetadata:
        """Metadata for a weights file of this run; ``facts`` are added to its ``training`` entry."""
        recipe = self.recipe
        return WeightsMetadata(
            architecture=recipe.model,
            options=recipe.model_options,
            label_set=self.train.label_set,
            input_size=recipe.input_size,
            mean=recipe.mean,
            std=recipe.std,
            dataset=f"{self.train.name} {self.train.split}",
            licence=self.train.licence,
            training={
                "recipe": recipe.model_dump(mode="json"),
                "images": len(self.train),
                "device": self.device.type,
                "validated_on": f"{self.val.name} {self.val.split}",
                **facts,
            },
        )


def _share_images(train: SegmentationDataset, val: SegmentationDataset) -> bool:
    """Whether images of ``val`` are also in ``train``, as with CamVid's ``trainval``."""
    if (train.name, train.split) == (val.name, val.split):
        return True
    first, second = (getattr(dataset, "pairs", ()) for dataset in (train, val))
    return not set(first).isdisjoint(second)
