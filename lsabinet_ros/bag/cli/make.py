"""``lsabinet bag make``: make a bag from a data set, a folder of images or a video."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.segmenter_options import positive
from lsabinet_core.errors import BagError
from lsabinet_ros.bag.cli.options import parse_rate, parse_stamp
from lsabinet_ros.bag.cli.results import status_for
from lsabinet_ros.bag.settings import COMPRESSIONS, DEFAULT_SETTINGS, STORAGES, BagSettings

if TYPE_CHECKING:
    from lsabinet_ros.bag.calibration import Calibration
    from lsabinet_ros.bag.camera_sources import CameraSources
    from lsabinet_ros.bag.sources import DatasetSource, FileSource

HELP = "make a rosbag2 from a data set, a folder of images or a video"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", metavar="INPUT", help="folder of images, or video file")
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    source.add_argument("--video", type=Path, metavar="FILE", help="video file")
    source.add_argument("--dataset", metavar="D", help="data set: camvid, cityscapes, folder or synthetic")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the data set (not needed for synthetic)")
    parser.add_argument("--split", default="val", metavar="S", help="split of the data set (default: val)")
    parser.add_argument(
        "--labels", type=Path, metavar="DIR", help="folder of label PNGs with the same names as the images"
    )
    parser.add_argument("--void", type=int, metavar="ID", help="label id that means unlabelled, in addition to 255")
    parser.add_argument("--limit", type=positive, metavar="N", help="write only the first N frames")
    parser.add_argument(
        "--rate",
        type=parse_rate,
        metavar="HZ",
        help="frame rate, such as 15, 29.97 or 30000/1001 (default: the stamps of the video)",
    )
    parser.add_argument(
        "--start", type=parse_stamp, metavar="S", help="stamp of the first frame in seconds since 1970 (default: now)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="F", help="X.mcap or X.db3 for a single file, X for a rosbag2 folder"
    )
    parser.add_argument("--storage", choices=STORAGES, help="storage of a rosbag2 folder (default: mcap)")
    parser.add_argument("--compressed", choices=COMPRESSIONS, help="write sensor_msgs/CompressedImage")
    parser.add_argument(
        "--quality",
        type=int,
        default=DEFAULT_SETTINGS.quality,
        metavar="Q",
        help="JPEG quality, 1 to 100 (default: %(default)s)",
    )
    parser.add_argument(
        "--image-topic",
        default=DEFAULT_SETTINGS.image_topic,
        metavar="T",
        help="topic of the images (default: %(default)s)",
    )
    parser.add_argument(
        "--label-topic",
        default=DEFAULT_SETTINGS.label_topic,
        metavar="T",
        help="topic of the labels (default: %(default)s)",
    )
    parser.add_argument(
        "--frame-id",
        default=DEFAULT_SETTINGS.frame_id,
        metavar="ID",
        help="frame_id of every header (default: %(default)s)",
    )
    parser.add_argument(
        "--cameras",
        nargs="+",
        metavar="NAME",
        help="several cameras: INPUT contains a folder or video NAME for each, and --labels a folder; the topics are "
        "/NAME/image_raw and /NAME/labels",
    )
    info = parser.add_mutually_exclusive_group()
    info.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        metavar="YAML",
        help="write CameraInfo from a file of ROS's camera_calibration; one file for all cameras, or one for each",
    )
    info.add_argument(
        "--fov", type=_angle, metavar="DEG", help="write CameraInfo of a camera with this horizontal field of view"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bag")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.writer import make_bag

    calibration_of = _calibration_of(args)
    source = _open_source(args)
    rate, limit = args.rate or (None if source.has_times else source.rate), args.limit
    if args.cameras:  # their source applies both to each camera
        rate = limit = None
    if rate is None and not source.has_times:
        raise BagError("the frame rate is unknown: set it with --rate, for example --rate 15")
    settings = BagSettings(
        storage=args.storage,
        compression=args.compressed,
        quality=args.quality,
        image_topic=args.image_topic,
        label_topic=args.label_topic,
        frame_id=args.frame_id,
    )
    total = source.count if limit is None else min(limit, source.count or limit)
    with Progress("writing", total) as progress:
        written = make_bag(
            source,
            args.out,
            rate=rate,
            start_ns=time.time_ns() if args.start is None else args.start,
            settings=settings,
            limit=limit,
            overwrite=args.overwrite,
            calibration_of=calibration_of,
            progress=progress.update,
        )
    shown = rate or args.rate
    timing = "with the stamps of the video" if shown is None else f"at {float(shown):g} Hz"
    seconds = (written.last_ns - written.first_ns) / 1e9
    print(f"{args.out}: {written.frames} frames, {written.labels} labels, {seconds:.3f} s {timing}")
    return status_for([source.lost] if source.lost else [])


def _open_source(args: argparse.Namespace) -> "DatasetSource | FileSource | CameraSources":
    from lsabinet_ros.bag.camera_sources import CameraSources
    from lsabinet_ros.bag.sources import DatasetSource, FileSource

    if args.cameras:
        return CameraSources(
            _folder_of_cameras(args),
            args.cameras,
            labels=args.labels,
            void=args.void,
            rate=args.rate,
            limit=args.limit,
        )
    if args.dataset is None:
        return FileSource(args.input or args.images or args.video, args.labels, args.void)
    if args.labels is not None or args.void is not None:
        raise BagError("--labels and --void need a folder of images: a data set has its own labels")
    from lsabinet_core.data import open_dataset

    return DatasetSource(open_dataset(args.dataset, args.root, args.split))


def _folder_of_cameras(args: argparse.Namespace) -> Path:
    folder = Path(args.input or args.images or "")
    if args.dataset or args.video or not folder.is_dir():
        raise BagError("--cameras needs a folder with a folder of images or a video for each camera")
    own = ("image_topic", "label_topic", "frame_id")
    if any(getattr(args, name) != getattr(DEFAULT_SETTINGS, name) for name in own):
        raise BagError("--cameras names the topics and frames: leave out --image-topic, --label-topic and --frame-id")
    return folder


def _calibration_of(args: argparse.Namespace) -> "Callable[[str | None, tuple[int, int]], Calibration] | None":
    """The calibration for a camera and the size of its images, as ``make_bag`` takes it."""
    from lsabinet_ros.bag.calibration import pinhole, read_calibration

    if args.fov is not None:
        return lambda camera, size: pinhole(size, args.fov)
    if not args.calibration:
        return None
    cameras: list[str | None] = args.cameras or [None]
    files = args.calibration * len(cameras) if len(args.calibration) == 1 else args.calibration
    if len(files) != len(cameras):
        each = f", or one for each of {', '.join(args.cameras)}" if args.cameras else ""
        raise BagError(f"--calibration: expected one file{each}, got {len(files)}")
    found = dict(zip(cameras, map(read_calibration, files)))
    return lambda camera, size: found[camera]


def _angle(text: str) -> float:
    try:
        degrees = float(text)
    except ValueError:
        degrees = 0.0
    if not 0 < degrees < 180:
        raise argparse.ArgumentTypeError(f"expected an angle above 0 and below 180 degrees, got {text!r}")
    return degrees
