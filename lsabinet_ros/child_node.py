"""Start the segmentation node as a child process, with its engine built before the first frame."""

import itertools
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from lsabinet_core.errors import BagError, FrameError, LsabinetError
from lsabinet_core.files import read_text
from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.storage import IMAGE
from lsabinet_ros.child_process import ChildProcess
from lsabinet_ros.conversions import compressed_to_array, image_to_array
from lsabinet_ros.view import parse_region

BUILD_S = 180.0
"""Maximum time for building the engine in seconds; after that, the node starts without it."""
MAX_CORRUPT = 100
"""Number of messages at the start of a topic that are searched for one that can be decoded."""


@dataclass(frozen=True)
class NodeSettings:
    """How the node is started.

    Attributes:
        parameters: values of its parameters by name.
        params_file: parameter file, or None.
    """

    parameters: Mapping[str, object] = field(default_factory=dict)
    params_file: Path | None = None

    def command(self, image_topic: str, compressed: bool, frame_size: tuple[int, int] | None = None) -> list[str]:
        """The command that starts the node on a topic.

        Args:
            image_topic: the camera's topic.
            compressed: whether it is CompressedImage.
            frame_size: (H, W) of the frames to come; None if unknown.
        """
        values = {**self.parameters, "compressed": compressed, "diagnostics_period_s": 0.2}
        if frame_size is not None:
            # The part of the frames that is segmented has that size.
            values["warm_up_height"], values["warm_up_width"] = self._region_size() or frame_size
        return [
            *(sys.executable, "-m", "lsabinet_ros.segmentation_node", "--ros-args"),
            *(() if self.params_file is None else ("--params-file", str(self.params_file.resolve()))),
            *("-r", f"~/input/image{'/compressed' if compressed else ''}:={image_topic}"),
            *(word for name, value in values.items() for word in ("-p", f"{name}:={json.dumps(value)}")),
        ]

    def _region_size(self) -> tuple[int, int] | None:
        """(H, W) of the region of interest in the parameter file; None without one, or if the node will reject it."""
        if self.params_file is None:
            return None
        try:
            document = yaml.safe_load(read_text(self.params_file))
            given = [content["ros__parameters"].get("region_of_interest") for content in document.values()]
            *_, width, height = parse_region(str(next(filter(None, given))), "region_of_interest")
        except (OSError, ValueError, yaml.YAMLError, AttributeError, KeyError, TypeError, StopIteration, LsabinetError):
            return None
        return height, width


def start_node(
    settings: NodeSettings, image_topic: str, compressed: bool, folder: Path, frame_size: tuple[int, int] | None
) -> ChildProcess:
    """Start the node.

    If the size of its frames is known, its engine is built first: otherwise PyTorch would run a short drive while the
    engine is being built, and most frames would be dropped.

    Args:
        image_topic, compressed, frame_size: as for ``NodeSettings.command``.
        folder: folder for ``node.log`` and ``build.log``.
    """
    command = settings.command(image_topic, compressed, frame_size)
    if frame_size is not None and settings.parameters.get("backend") != "torch":  # PyTorch needs no build
        _build_engine(command, folder)
    return ChildProcess("node", command, folder / "node.log")


def first_frame_size(bag: Bag, image_topic: str) -> tuple[int, int] | None:
    """(H, W) of the first frame on a topic that can be decoded; None if there is none among the first messages."""
    for message in itertools.islice(bag.messages([image_topic]), MAX_CORRUPT):
        try:
            content = bag.deserialize(message)
            frame = (image_to_array if message.type == IMAGE else compressed_to_array)(content)
        except (BagError, FrameError):
            continue
        return frame.shape[0], frame.shape[1]
    return None


def _build_engine(command: list[str], folder: Path) -> None:
    """Fill the engine cache for the node; a failure is left to the node, whose configure reports it."""
    builder = ChildProcess("engine builder", [*command, "-p", "build_only:=true"], folder / "build.log")
    try:
        print("preparing the engine, which takes up to a minute the first time", file=sys.stderr, flush=True)
        deadline = time.monotonic() + BUILD_S
        while not builder.ended() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        builder.kill()
