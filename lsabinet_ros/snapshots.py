"""Frames and their results as a folder of files for a bug report."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import yaml
from std_msgs.msg import Header

from lsabinet_core.files import atomic_folder
from lsabinet_core.inference.overlay import blend
from lsabinet_ros.latency import FrameLatency
from lsabinet_ros.published_labels import PublishedLabels


@dataclass(frozen=True)
class FrameSnapshot:
    """One frame of a camera and its results.

    Attributes:
        camera: name of the camera; empty for a single one under ``~``.
        header: of the frame.
        frame: the whole frame, rectified if the camera rectifies, BGR, uint8 (H, W, 3).
        mask: the network's ids, uint8 (H, W), with 255 for pixels that are published as unlabelled.
        labels: the published classes.
        overlay_alpha: opacity of the class colours in the overlay.
        latency: of the frame.
    """

    camera: str
    header: Header
    frame: np.ndarray
    mask: np.ndarray
    labels: PublishedLabels
    overlay_alpha: float
    latency: FrameLatency


def save(directory: Path, snapshots: Sequence[FrameSnapshot], parameters: Mapping[str, object]) -> Path:
    """Write the files into a new folder below ``directory``.

    The folder has ``parameters.yaml``, which can be given to the node as a parameter file, and for each frame
    ``frame.png``, ``mask.png``, ``overlay.png`` and ``latency.json``: side by side for a single camera, in a folder
    of the camera's name for several.

    Args:
        directory: created if it is missing.
        snapshots: at least one, of different cameras.
        parameters: values of the node's parameters by name.

    Returns:
        The new folder, ``snapshot_`` with the current time, UTC.

    Raises:
        OSError: a file cannot be written; nothing of the snapshot is left behind.
    """
    folder = directory / f"snapshot_{datetime.now(timezone.utc):%Y%m%dT%H%M%S_%fZ}"
    with atomic_folder(folder) as temporary:
        for snapshot in snapshots:
            own = temporary / snapshot.camera if snapshot.camera else temporary
            own.mkdir(exist_ok=True)
            _save_frame(own, snapshot)
        document = yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}})
        (temporary / "parameters.yaml").write_text(document, encoding="utf-8")
    return folder


def _save_frame(folder: Path, snapshot: FrameSnapshot) -> None:
    images = {
        "frame": snapshot.frame,
        "mask": snapshot.labels.published(snapshot.mask),
        "overlay": blend(snapshot.frame, snapshot.mask, snapshot.labels.drawn, snapshot.overlay_alpha),
    }
    for name, pixels in images.items():
        (folder / f"{name}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    header = snapshot.header
    stages = snapshot.latency.stages()
    document = {
        "stamp": {"sec": header.stamp.sec, "nanosec": header.stamp.nanosec},
        "frame_id": header.frame_id,
        "latency_ms": {name: None if math.isnan(ms) else round(ms, 3) for name, ms in stages.items()},
    }
    (folder / "latency.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
