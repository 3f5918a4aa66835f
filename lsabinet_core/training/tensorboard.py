"""A run's scalars for TensorBoard."""

from pathlib import Path

from lsabinet_core.errors import TrainingError

FLUSH_SECONDS = 30


class TensorBoardLog:
    """Observer of a Trainer that writes event files; use it as a context manager around the run.

    Writes ``train/loss``, ``train/lr`` and ``train/images_per_s`` over iterations, and ``val/miou`` (0..1) after each
    validation, with ``val/iou/<class>`` if the event has ``per_class_iou``. Other events are ignored.

    A resumed run continues in the same folder: TensorBoard hides what an earlier process wrote after the checkpoint,
    so that the curves do not overlap.

    Args:
        folder: folder of the event files; created with the first event.

    Raises:
        TrainingError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise TrainingError("tensorboard is not installed: pip install 'tensorboard>=2.16'") from None
        self._open = SummaryWriter
        self._folder = Path(folder)
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> "TensorBoardLog":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __call__(self, event: dict) -> None:
        if event["event"] == "step":
            self._write(event["iteration"], {f"train/{key}": event[key] for key in ("loss", "lr", "images_per_s")})
        elif event["event"] == "validation":
            ious = {f"val/iou/{name}": iou for name, iou in (event.get("per_class_iou") or {}).items()}
            self._write(event["iteration"], {"val/miou": event["miou"], **ious})

    def close(self) -> None:
        """Write pending events; a later event opens a new file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, iteration: int, values: dict[str, float | None]) -> None:
        if self._writer is None:
            resumed = any(self._folder.glob("events.out.tfevents.*"))
            # A run reports at the same iterations even if it is interrupted, so our first iteration is the first one
            # that an earlier process may have written as well.
            purge = iteration if resumed else None
            self._writer = self._open(str(self._folder), purge_step=purge, flush_secs=FLUSH_SECONDS)
        for tag, value in values.items():
            if value is not None:
                self._writer.add_scalar(tag, value, iteration)
