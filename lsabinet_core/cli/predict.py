"""``lsabinet predict``: write masks and overlays of images, a video or a camera."""

import argparse
import contextlib
import errno
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.segmenter_options import add_segmenter_arguments, open_segmenter, positive
from lsabinet_core.errors import FrameError, LsabinetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.inference import Segmenter, Timings
    from lsabinet_core.inference.sources import FrameSource

    Result = tuple[str, tuple[int, int], Timings]
    """Name, size and times of a frame."""

HELP = "segment an image, a folder of images, a video or a camera; write masks and overlays"

INTERRUPTED = 130
INCOMPLETE = 3
"""Exit status if a part of a damaged video could not be decoded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help="image, folder of images, video file or camera index, such as 0")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    parser.add_argument("--limit", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--no-overlay", action="store_true", help="write masks only")
    add_segmenter_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.inference.sources import open_source

    if args.out.exists() and not args.out.is_dir():
        raise LsabinetError(f"--out {args.out}: expected a folder, got a file")
    _check_input_survives(args)
    with contextlib.closing(open_source(args.input)) as source, open_segmenter(args) as segmenter:
        total = args.limit if source.count is None else min(source.count, args.limit or source.count)
        with Progress("segmenting", total) as progress:
            results, failed, interrupted = _segment_all(args, source, segmenter, progress)
        _write_summary(args, source, segmenter, results, failed, interrupted)
    for what, problems in (("read", source.unreadable), ("segmented or written", failed)):
        if problems:
            first = next(iter(problems.values()))
            raise FrameError(f"{len(problems)} of {source.count} images could not be {what}, the first: {first}")
    # Ctrl-C is the normal way to stop a camera; any other source is incomplete.
    if interrupted and source.kind != "camera":
        return INTERRUPTED
    return INCOMPLETE if source.lost else 0


def _check_input_survives(args: argparse.Namespace) -> None:
    """Raise LsabinetError if a result would replace the input."""
    source = Path(args.input)
    # A file or folder of results, and the inputs that it would replace.
    replaced = {"masks": (source, source.parent)}
    if not args.no_overlay:
        replaced |= {"overlays": (source, source.parent), "overlay.mp4": (source,)}
        replaced["legend.png"] = (source, source / "legend.png")
    for name, inputs in replaced.items():
        result = args.out / name
        if any(path.exists() and result.exists() and path.samefile(result) for path in inputs):
            raise LsabinetError(f"the results in {result} would replace the input {args.input}: choose another --out")


def _segment_all(
    args: argparse.Namespace, source: "FrameSource", segmenter: "Segmenter", progress: "Progress"
) -> tuple["list[Result]", dict[str, str], bool]:
    """Write a mask and an overlay per frame.

    Returns:
        [(name, frame size, timings)]; {name: reason} of the images that could not be segmented or written; and whether
        the user pressed Ctrl-C.
    """
    from lsabinet_core.cli.overlay_video import OverlayVideo
    from lsabinet_core.images import write_image
    from lsabinet_core.inference.overlay import draw_legend

    results: list[Result] = []
    failed: dict[str, str] = {}
    overlays = not args.no_overlay
    if overlays:
        write_image(args.out / "legend.png", draw_legend(segmenter.label_set))
    with contextlib.ExitStack() as stack:
        video = None
        if overlays and source.kind == "video":
            video = stack.enter_context(OverlayVideo(args.out / "overlay.mp4", source.fps))
        try:
            for name, frame in _readable(source, progress):
                if not results and source.count != 1:
                    segmenter.warm_up(frame.shape[:2])
                try:
                    result = segmenter.segment(frame, confidence=False)
                    write_image(args.out / "masks" / f"{name}.png", result.mask)
                    if overlays:
                        overlay = segmenter.overlay(frame, result.mask)
                        write_image(args.out / "overlays" / f"{name}.jpg", overlay)
                        if video is not None:
                            video.write(overlay)
                except (FrameError, OSError) as error:
                    if not _concerns_one_image(error, source):
                        raise
                    failed[name] = str(error)
                    progress.warn(f"{error}; skipped")
                    continue
                results.append((name, result.mask.shape, result.timings))
                progress.update(len(results))
                if len(results) == args.limit:
                    break
        except KeyboardInterrupt:
            return results, failed, True
    return results, failed, False


def _concerns_one_image(error: FrameError | OSError, source: "FrameSource") -> bool:
    """Return whether to continue with the next image; False for a video, whose frames are alike, and a full disk."""
    return source.kind == "images" and (isinstance(error, FrameError) or error.errno == errno.ENAMETOOLONG)


def _readable(source: "FrameSource", progress: "Progress") -> "Iterator[tuple[str, np.ndarray]]":
    """Yield the frames of ``source``, and warn about each unreadable image as soon as it is skipped."""
    warned = 0

    def warn() -> None:
        nonlocal warned
        for reason in list(source.unreadable.values())[warned:]:
            progress.warn(f"{reason}; skipped")
        warned = len(source.unreadable)

    for item in source:
        warn()
        yield item
    warn()


def _write_summary(
    args: argparse.Namespace,
    source: "FrameSource",
    segmenter: "Segmenter",
    results: "list[Result]",
    failed: dict[str, str],
    interrupted: bool,
) -> None:
    from lsabinet_core.evaluation.latency import latency_table, summarise_timings
    from lsabinet_core.files import write_text

    sizes = sorted({size for _, size, _ in results})
    latency_ms = summarise_timings([timings for _, _, timings in results])
    summary = {
        "input": args.input,
        "kind": source.kind,
        "frames": len(results),
        "declared_frames": source.count,
        "lost": source.lost,
        "interrupted": interrupted,
        "unreadable": [str(path) for path in source.unreadable],
        "failed": failed,
        "frame_sizes": [list(size) for size in sizes],
        "network_sizes": [list(size) for size in sorted({segmenter.network_size(size) for size in sizes})],
        "classes": list(segmenter.label_set.names),
        **segmenter.describe(),
        "latency_ms": latency_ms,
    }
    write_text(args.out / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(f"frames: {len(results)}, results in {args.out}\n\n{latency_table(latency_ms)}")
