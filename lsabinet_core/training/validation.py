"""Validates a run's network and writes its weights files."""

from pathlib import Path

import torch
from torch import nn

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.errors import DatasetError, WeightsError
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.evaluation.report import Report
from lsabinet_core.inference.segmenter import Segmenter
from lsabinet_core.models.weights import WeightsMetadata, save_weights

from .averaging import WeightAverage
from .recipe import Recipe
from .run_folder import RunFolder
from .samples import KeptSamples

GPU_BATCH = 8
"""Images of a validation that a GPU computes together; a CPU takes them one by one, which is no slower."""


class Validation:
    """Measures the network that the run would ship, the average where there is one, and writes the weights files.

    ``last.safetensors`` holds the network that is trained, ``ema.safetensors`` its average (with ``ema_decay`` only),
    ``best.safetensors`` whichever of these two is validated, at its highest mIoU so far. Their metadata says which
    under ``training``: ``weights`` is "last", "ema" or "best", ``averaged`` whether it is the average, ``val_miou`` the
    figure; it is called ``seen_miou`` where the network has learned from the images that it was measured on.

    Args:
        recipe: of the run.
        run: where to write.
        train: what the weights come from.
        val: what to measure on.
        device: where to measure.

    Raises:
        DatasetError: ``val`` has no labels, as Cityscapes' test split, or its first image cannot be read.
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
        # A run would notice at its first validation, which is late.
        if val.sample(0).label is None:
            raise DatasetError(f"expected labelled images to validate on, {val.name} {val.split} has no labels")
        self.seen = _share_images(train, val)
        self._kept = KeptSamples(val)

    def measure(self, network: nn.Module) -> Report:
        """Figures of ``network`` over the whole validation split, in fp32; its images stay in memory for the next."""
        batch_size = GPU_BATCH if self.device.type == "cuda" else 1
        with Segmenter(
            network, self.metadata(), device=str(self.device), precision="fp32", backend="torch"
        ) as segmenter:
            return evaluate(segmenter, self._kept, batch_size=batch_size)

    def save(
        self, model: nn.Module, average: WeightAverage | None, miou: float | None, best: bool, facts: dict
    ) -> None:
        """Write the weights files.

        Args:
            model: the network that is trained.
            average: None without one.
            miou: measured on the average, or on ``model`` without one; None where it is undefined.
            best: whether it is the highest so far.
            facts: about the run, for the metadata.
        """
        validated = model if average is None else average.module
        figures = {**facts, "averaged": average is not None, "seen_miou" if self.seen else "val_miou": miou}
        if average is None:
            _save(self.run.last, model, self.metadata(weights="last", **figures))
        else:
            _save(self.run.last, model, self.metadata(weights="last", averaged=False, **facts))
            _save(self.run.ema, validated, self.metadata(weights="ema", **figures))
        if best:
            _save(self.run.best, validated, self.metadata(weights="best", **figures))

    def metadata(self, **facts) -> WeightsMetadata:
        """Of a weights file of this run, with ``facts`` in its training summary."""
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


def _save(path: Path, network: nn.Module, metadata: WeightsMetadata) -> None:
    """In fp16, or in fp32 where a value is beyond fp16's range."""
    try:
        save_weights(path, network, metadata)
    except WeightsError:
        save_weights(path, network, metadata, dtype=torch.float32)


def _share_images(train: SegmentationDataset, val: SegmentationDataset) -> bool:
    """Whether images of ``val`` are in ``train``, too, as in CamVid's ``trainval``."""
    if (train.name, train.split) == (val.name, val.split):
        return True
    first, second = (getattr(dataset, "pairs", ()) for dataset in (train, val))
    return not set(first).isdisjoint(second)
