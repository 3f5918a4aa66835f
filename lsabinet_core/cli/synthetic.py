"""``lsabinet synthetic``: render street scenes with exact labels."""

import argparse
from pathlib import Path

from lsabinet_core.cli.segmenter_options import count, parse_size, positive
from lsabinet_core.data.scenes.light import KINDS as LIGHTS

HELP = "render street scenes with exact labels, as a training data set or a preview sheet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    render = verbs.add_parser("render", help="render a folder data set; the same command continues an interrupted run")
    render.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    render.add_argument(
        "--scenes", type=positive, default=4000, metavar="N", help="number of training scenes (default: 4000)"
    )
    render.add_argument(
        "--val-scenes", type=positive, default=100, metavar="N", help="number of validation scenes (default: 100)"
    )
    render.add_argument(
        "--size", type=parse_size, default=(360, 480), metavar="HxW", help="image size in pixels (default: 360x480)"
    )
    render.add_argument(
        "--workers", type=positive, metavar="N", help="number of worker processes (default: one per usable core)"
    )
    _add_light(render)
    preview = verbs.add_parser("preview", help="draw a sheet of scenes with their labels")
    preview.add_argument("--out", type=_picture, required=True, metavar="FILE", help="picture to write, .png or .jpg")
    preview.add_argument(
        "--scenes", type=positive, default=12, metavar="N", help="number of scenes on the sheet (default: 12)"
    )
    preview.add_argument("--seed", type=count, default=1, metavar="N", help="seed of the first scene (default: 1)")
    preview.add_argument(
        "--size", type=parse_size, default=(180, 240), metavar="HxW", help="size of each scene (default: 180x240)"
    )

    _add_light(preview)


def _add_light(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--light", choices=LIGHTS, help="light and weather of all scenes (default: random per scene)")


def run(args: argparse.Namespace) -> int:
    return _render(args) if args.action == "render" else _preview(args)


def _render(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.cores import at_most_cores, usable_cores
    from lsabinet_core.data.scenes import require_renderer

    require_renderer()
    from lsabinet_core.data.scenes.generate import render_folder

    counts = {"train": args.scenes, "val": args.val_scenes}
    with Progress("rendering", sum(counts.values())) as progress:
        rendered = render_folder(
            args.out, counts, args.size, at_most_cores(args.workers or usable_cores()), progress.update, args.light
        )
    print(f"{args.out}: {sum(counts.values())} scenes, {rendered} of them newly rendered")
    return 0


def _preview(args: argparse.Namespace) -> int:
    import numpy as np

    from lsabinet_core.data.scenes import require_renderer

    require_renderer()
    from lsabinet_core.data.scenes.render import render_scene
    from lsabinet_core.images import write_image
    from lsabinet_core.labels import CAMVID

    palette = np.zeros((256, 3), np.uint8)
    palette[: len(CAMVID)] = np.array(CAMVID.colors)[:, ::-1]
    tiles = []
    for seed in range(args.seed, args.seed + args.scenes):
        sample = render_scene(seed, args.size, args.light)
        tiles.append(np.vstack([sample.image, palette[sample.label]]))
    columns = min(4, len(tiles))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    write_image(args.out, np.vstack(rows))
    print(f"{args.out}: {args.scenes} scenes, each above its label")
    return 0


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise argparse.ArgumentTypeError(f"expected a .png or .jpg file, got {text!r}")
    return path
