"""``lsabinet predict``: masks and overlays of an image, a folder, a video or a camera."""

import argparse
import contextlib
import json
from pathlib import Path

from lsabinet_core.cli.segmenter_options import add_segmenter_arguments, open_segmenter, positive
from lsabinet_core.errors import FrameError, LsabinetError

HELP = "segment an image, a folder of images, a video or a camera; write masks and overlays"

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help="image, folder of images, video file, or camera index (0)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--limit", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--no-overlay", action="store_true", help="write masks only")
    add_segmenter_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.inference.sources import open_source

    if args.out.exists() and not args.out.is_dir():
        raise LsabinetError(f"--out {args.out}: expected a folder, got a file")
    with contextlib.closing(open_source(args.input)) as source, open_segmenter(args) as segmenter:
        total = args.limit if source.count is None else min(source.count, args.limit or source.count)
        with Progress("segmenting", total) as progress:
            results, interrupted = _segment_all(args, source, segmenter, progress)
        _write_summary(args, source, segmenter, results, interrupted)
    if source.unreadable:
        raise FrameError(
            f"{len(source.unreadable)} of {source.count} images could not be read, the first: {source.unreadable[0]}"
        )
    # Ctrl-C is how a camera run ends; anything else was cut short.
    return INTERRUPTED if interrupted and source.kind != "camera" else 0


def _segment_all(args, source, segmenter, progress):
    """Write a mask and an overlay per frame; returns [(name, frame size, timings)] and whether Ctrl-C ended it."""
    from lsabinet_core.cli.image_files import OverlayVideo, write_image
    from lsabinet_core.inference.overlay import draw_legend

    results = []
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
                result = segmenter.segment(frame, confidence=False)
                write_image(args.out / "masks" / f"{name}.png", result.mask)
                if overlays:
                    overlay = segmenter.overlay(frame, result.mask)
                    write_image(args.out / "overlays" / f"{name}.jpg", overlay)
                    if video is not None:
                        video.write(overlay)
                results.append((name, result.mask.shape, result.timings))
                progress.update(len(results))
                if len(results) == args.limit:
                    break
        except KeyboardInterrupt:
            return results, True
    return results, False


def _readable(source, progress):
    """The frames of ``source``, with a warning as soon as one had to be left out."""
    warned = 0

    def warn() -> None:
        nonlocal warned
        for path in source.unreadable[warned:]:
            progress.warn(f"{path} cannot be read; left out")
        warned = len(source.unreadable)

    for item in source:
        warn()
        yield item
    warn()


def _write_summary(args, source, segmenter, results, interrupted: bool) -> None:
    from lsabinet_core.evaluation.latency import latency_table, summarise_timings
    from lsabinet_core.files import write_text

    sizes = sorted({size for _, size, _ in results})
    latency_ms = summarise_timings([timings for _, _, timings in results])
    summary = {
        "input": args.input,
        "kind": source.kind,
        "frames": len(results),
        "interrupted": interrupted,
        "unreadable": [str(path) for path in source.unreadable],
        "frame_sizes": [list(size) for size in sizes],
        "network_sizes": [list(size) for size in sorted({segmenter.network_size(size) for size in sizes})],
        "classes": list(segmenter.label_set.names),
        **segmenter.describe(),
        "latency_ms": latency_ms,
    }
    write_text(args.out / "summary.json", json.dumps(summary, indent=2) + "\n")
    print(f"frames: {len(results)}, results in {args.out}\n\n{latency_table(latency_ms)}")
