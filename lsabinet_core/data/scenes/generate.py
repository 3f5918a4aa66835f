"""Parallel rendering of scenes into a folder data set, so that training only reads files."""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import cv2
import yaml

from lsabinet_core.data.scenes.render import check_size, render_scene
from lsabinet_core.errors import DatasetError
from lsabinet_core.files import atomic_path, read_text, write_text
from lsabinet_core.labels import CAMVID, VOID

FIRST_SEED = {"train": 10_000_000, "val": 20_000_000, "test": 30_000_000}
_LICENCE = "Apache-2.0 (rendered by this package)"


def render_folder(
    out: Path,
    counts: dict[str, int],
    size: tuple[int, int],
    workers: int,
    progress: Callable[[int, int], None],
    light: str | None = None,
) -> int:
    """Render scenes into a folder data set. Existing files are kept, so that a repeated call resumes the work.

    Args:
        out: the folder. It receives dataset.yaml and, per split, a list, a folder of JPEG images and one of PNG labels.
        counts: number of scenes per split of ``FIRST_SEED``; scene i of a split always has the same seed.
        size: (height, width). workers: number of processes. progress: called with (scenes done, total scenes).
        light: one of `light.KINDS` for every scene (default: a random one per scene).

    Returns:
        Number of scenes rendered by this call.

    Raises:
        DatasetError: the folder contains scenes of another size, or a list or description of another data set; or see
            ``check_size``.
    """
    check_size(size)
    out.mkdir(parents=True, exist_ok=True)
    _check_size(out, size)
    classes = [{"name": name, "color": list(color)} for name, color in zip(CAMVID.names, CAMVID.colors)]
    description = {"name": CAMVID.name, "licence": _LICENCE, "void": [VOID], "classes": classes}
    _check_replaced_files(out, counts, description)
    jobs = []
    for split, count in counts.items():
        jobs += [
            (FIRST_SEED[split] + i, out / split / f"{i:06d}.jpg", out / f"{split}_labels" / f"{i:06d}.png")
            for i in range(count)
        ]
    missing = [job for job in jobs if not job[2].exists()]
    done = len(jobs) - len(missing)
    progress(done, len(jobs))
    # Spawned rather than forked, because the threads of Numba and OpenCV do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(workers, _single_threaded) as pool:
        for _ in pool.imap_unordered(partial(_render, size=size, light=light), missing, chunksize=4):
            done += 1
            progress(done, len(jobs))
    for split, count in counts.items():
        write_text(out / f"{split}.txt", "".join(_line(split, i) for i in range(count)))
    write_text(out / "dataset.yaml", yaml.safe_dump(description, sort_keys=False))
    return len(missing)


def _line(split: str, index: int) -> str:
    """The line of scene ``index`` in the list of a split."""
    return f"{split}/{index:06d}.jpg {split}_labels/{index:06d}.png\n"


def _check_replaced_files(out: Path, splits: Iterable[str], description: dict) -> None:
    """Raise DatasetError if a file that rendering replaces was not written by an earlier rendering."""
    written_here = {
        out / "dataset.yaml": lambda text: yaml.safe_load(text) == description,
        **{out / f"{split}.txt": lambda text, split=split: text.startswith(_line(split, 0)) for split in splits},
    }
    for path, recognise in written_here.items():
        try:
            foreign = path.exists() and not recognise(read_text(path))
        except (UnicodeDecodeError, yaml.YAMLError):
            foreign = True
        if foreign:
            raise DatasetError(f"{path} is of another data set, which rendering would replace: choose another folder")


def _single_threaded() -> None:
    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def _check_size(out: Path, size: tuple[int, int]) -> None:
    first = next(out.glob("*_labels/*.png"), None)
    if first is not None:
        found = cv2.imread(str(first), cv2.IMREAD_UNCHANGED)
        if found is not None and found.shape[:2] != size:
            raise DatasetError(
                f"{out}: expected scenes of {size[0]}x{size[1]}, got scenes of {found.shape[0]}x{found.shape[1]}: "
                f"choose another folder"
            )


def _render(job: tuple[int, Path, Path], size: tuple[int, int], light: str | None) -> None:
    seed, image_path, label_path = job
    sample = render_scene(seed, size, light)
    # The label is written last: a scene with a label is complete.
    for path, pixels, options in (
        (image_path, sample.image, [cv2.IMWRITE_JPEG_QUALITY, 96]),
        (label_path, sample.required_label, []),
    ):
        with atomic_path(path) as temporary:
            temporary.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())
