"""A run's scalars for TensorBoard."""

from pathlib import Path

from lsabinet_core.errors import TrainingError

FLUSH_SECONDS = 30


class TensorBoardLog:
    """Observer of a Trainer that writes event files, and a context manager around its run.

    Writes ``train/loss``, ``train/lr`` and ``train/images_per_s`` over iterations, and ``val/miou`` (0..1) after each
    validation, with ``val/iou/<class>`` where the event has ``per_class_iou``. Events of other kinds are ignored.

    A resumed run goes on in the same folder: what an earlier process wrote past the checkpoint is hidden, so that the
    curves do not overlap.

    Args:
        folder: for the event files; made with the first event.

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

    def __exit__(self, *_exception) -> None:
        self.close()

    def __call__(self, event: dict) -> None:
        if event["event"] == "step":
            self._write(event["iteration"], {f"train/{key}": event[key] for key in ("loss", "lr", "images_per_s")})
        elif event["event"] == "validation":
            ious = {f"val/iou/{name}": iou for name, iou in (event.get("per_class_iou") or {}).items()}
            self._write(event["iteration"], {"val/miou": event["miou"], **ious})

    def close(self) -> None:
        """Write out what is pending; a later event opens a new file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, iteration: int, values: dict[str, float | None]) -> None:
        if self._writer is None:
            resumed = any(self._folder.glob("events.out.tfevents.*"))
            # The iterations at which a run reports do not depend on where it was cut, so the first of ours is the
            # first that an earlier process may have written too.
            purge = iteration if resumed else None
            self._writer = self._open(str(self._folder), purge_step=purge, flush_secs=FLUSH_SECONDS)
        for tag, value in values.items():
            if value is not None:
                self._writer.add_scalar(tag, value, iteration)
