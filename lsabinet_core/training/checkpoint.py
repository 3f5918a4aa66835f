"""The state of a run between two iterations, saved so that the run can be resumed."""

import io
import pickle
import zipfile
from pathlib import Path

import torch

from lsabinet_core.errors import TrainingError
from lsabinet_core.files import atomic_path


def save_checkpoint(path: Path, state: dict) -> None:
    """Write tensors, numbers, strings, lists and dicts atomically. Raises OSError if the disk is full."""
    # Serialise to memory first: on a full disk PyTorch's own writer raises an error that does not name the cause.
    content = io.BytesIO()
    torch.save(state, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(path: Path, device: torch.device) -> dict:
    """Read a file written by ``save_checkpoint``; executes nothing from the file.

    Raises:
        TrainingError: the file is missing, truncated or not a checkpoint.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist: nothing to resume; start without --resume") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile):
        raise TrainingError(f"{path} is not a complete checkpoint: start again with another --out") from None
