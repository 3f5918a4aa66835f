"""The state of a run between two iterations, for resuming it."""

import io
import pickle
import zipfile
from pathlib import Path

import torch

from lsabinet_core.errors import TrainingError
from lsabinet_core.files import atomic_path


def save_checkpoint(path: Path, state: dict) -> None:
    """Write tensors, numbers, strings, lists and dicts atomically. Raises OSError where the disk does not take it."""
    # Not to the file at once: on a full disk PyTorch's writer raises what does not say so.
    content = io.BytesIO()
    torch.save(state, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_checkpoint(path: Path, device: torch.device) -> dict:
    """Read what ``save_checkpoint`` wrote; executes nothing from the file.

    Raises:
        TrainingError: missing, truncated or foreign.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist: nothing to resume; start without --resume") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile):
        raise TrainingError(f"{path} is not a whole checkpoint of a run: start again with another --out") from None
