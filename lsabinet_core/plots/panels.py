"""A sheet of pictures with titles, captions and the class colours, drawn by OpenCV without rescaling."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lsabinet_core.errors import LsabinetError
from lsabinet_core.images import write_image
from lsabinet_core.inference.overlay import colorize
from lsabinet_core.labels import VOID, LabelSet

FORMATS = (".png", ".jpg")
PANEL_WIDTH = 320

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
WRONG = (0, 94, 213)  # BGR of Okabe and Ito's vermilion
NOT_COUNTED = (190, 190, 190)

_FONT, _SCALE, _LINE = cv2.FONT_HERSHEY_SIMPLEX, 0.45, 20
_GAP = 8
_WIDEST_ROW_TITLE = 200


@dataclass(frozen=True, eq=False)
class Panel:
    """One image of a sheet, BGR uint8 (h, w, 3), and its caption."""

    image: np.ndarray
    caption: str = ""


def panel_size(images: Sequence[np.ndarray], size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the cell size (height, width): ``size``, or PANEL_WIDTH wide and high enough for all ``images``."""
    if size is not None:
        return size
    return max(round(PANEL_WIDTH * image.shape[0] / image.shape[1]) for image in images), PANEL_WIDTH


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 class ids (H, W) (nearest) or BGR (H, W, 3) to fit (height, width), keeping the aspect ratio."""
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=smooth if image.ndim == 3 else cv2.INTER_NEAREST)


def error_map(image: np.ndarray, label: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return an error map: wrong pixels in vermilion, void pixels in grey, correct pixels as darkened grey image.

    Args:
        image: BGR uint8 (H, W, 3).
        label: uint8 (H, W), 255 = void.
        mask: uint8 (H, W).

    Returns:
        BGR uint8 (H, W, 3).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) // 2
    errors = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    errors[mask != label] = WRONG
    errors[label == VOID] = NOT_COUNTED
    return errors


def outline(picture: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Draw a white line with a black edge around the regions of ``marked``, bool (H, W), on BGR uint8 (H, W, 3).

    Slivers of one or two pixels, which occur along every edge, are left out, or the lines would hide the picture.
    """
    regions = cv2.morphologyEx(marked.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(regions, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    outlined = picture.copy()
    cv2.drawContours(outlined, contours, -1, BLACK, 3)
    cv2.drawContours(outlined, contours, -1, WHITE, 1)
    return outlined


def label_picture(label: np.ndarray | None, size: tuple[int, int], label_set: LabelSet) -> np.ndarray:
    """Return class ids, uint8 (H, W), as BGR colours fitted into ``size``; void is black, a missing label is grey."""
    if label is None:
        return np.full((*size, 3), NOT_COUNTED, np.uint8)
    return colorize(fit(label, size), label_set)


def sheet(
    rows: Sequence[Sequence[Panel]],
    *,
    size: tuple[int, int],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    keys: Sequence[tuple[str, tuple[int, int, int]]],
    note: str = "",
) -> np.ndarray:
    """Arrange panels in rows and columns, BGR uint8.

    Args:
        rows: rows with equal numbers of panels; a panel is at most of ``size`` and is centred in its cell.
        size: (height, width) of a cell.
        row_titles: titles left of the rows.
        column_titles: titles above the columns.
        keys: (name, BGR colour) entries of the legend below the panels.
        note: line of text below the legend.
    """
    height, width = size
    title_width = min(_WIDEST_ROW_TITLE, max(_text_width(title) for title in row_titles))
    left = title_width + 2 * _GAP
    columns = len(column_titles)
    captions = [_LINE if any(panel.caption for panel in row) else 0 for row in rows]
    sheet_width = left + columns * (width + _GAP)
    footer = _footer(keys, note, sheet_width)
    top = _LINE + 2 * _GAP
    body = sum(height + caption + _GAP for caption in captions)
    picture = np.full((top + body + len(footer), sheet_width, 3), 255, np.uint8)

    lefts = [left + column * (width + _GAP) for column in range(columns)]
    for x, title in zip(lefts, column_titles, strict=True):
        _centred_text(picture, title, x, _GAP, width)
    y = top
    for row, title, caption in zip(rows, row_titles, captions, strict=True):
        lines = _wrap(title, title_width)
        for number, line in enumerate(lines):
            _text(picture, line, _GAP, y + (height - len(lines) * _LINE) // 2 + number * _LINE)
        for x, panel in zip(lefts, row, strict=True):
            rows_of, columns_of = panel.image.shape[:2]
            down, right = y + (height - rows_of) // 2, x + (width - columns_of) // 2
            picture[down : down + rows_of, right : right + columns_of] = panel.image
            _centred_text(picture, panel.caption, x, y + height, width)
        y += height + caption + _GAP
    picture[y:] = footer
    return picture


def class_keys(label_set: LabelSet) -> list[tuple[str, tuple[int, int, int]]]:
    """Return the names and BGR colours of the classes, as legend entries for ``sheet``."""
    return [
        (name, (blue, green, red)) for name, (red, green, blue) in zip(label_set.names, label_set.colors, strict=True)
    ]


def check_picture_path(path: Path) -> None:
    """Raise LsabinetError unless the suffix is one of ``FORMATS``."""
    if path.suffix.lower() not in FORMATS:
        raise LsabinetError(f"{path}: expected a file name ending in {' or '.join(FORMATS)}")


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write BGR uint8 (H, W, 3) atomically; the suffix, one of ``FORMATS``, determines the format.

    Raises:
        FrameError: the picture is too large for the format.
    """
    path = Path(path)
    check_picture_path(path)
    write_image(path, picture)


def _footer(keys: Sequence[tuple[str, tuple[int, int, int]]], note: str, width: int) -> np.ndarray:
    """Draw the legend, with as many entries per line as fit, and the note."""
    swatch = 24
    places, x, y = [], _GAP, _GAP
    for name, _ in keys:
        needed = swatch + _GAP + _text_width(name) + 2 * _GAP
        if x > _GAP and x + needed > width:
            x, y = _GAP, y + _LINE + 4
        places.append((x, y))
        x += needed
    lines = _wrap(note, width - 2 * _GAP) if note else []
    end = y + _LINE + _GAP
    footer = np.full((end + len(lines) * _LINE + (_GAP if lines else 0), width, 3), 255, np.uint8)
    for (x, y), (name, color) in zip(places, keys, strict=True):
        footer[y + 2 : y + _LINE - 2, x : x + swatch] = color
        _text(footer, name, x + swatch + _GAP, y)
    for number, line in enumerate(lines):
        _text(footer, line, _GAP, end + number * _LINE)
    return footer


def _plain(text: str) -> str:
    # OpenCV's own letters are ASCII.
    return text.encode("ascii", "replace").decode()


def _text_width(text: str) -> int:
    return cv2.getTextSize(_plain(text), _FONT, _SCALE, 1)[0][0]


def _text(picture: np.ndarray, text: str, x: int, y: int) -> None:
    """Draw one line of text whose top is at y."""
    cv2.putText(picture, _plain(text), (x, y + _LINE - 6), _FONT, _SCALE, BLACK, 1, cv2.LINE_AA)


def _centred_text(picture: np.ndarray, text: str, x: int, y: int, width: int) -> None:
    line = _shorten(text, width)
    _text(picture, line, x + (width - _text_width(line)) // 2, y)


def _shorten(text: str, width: int) -> str:
    """Cut at the beginning: the end of a name distinguishes files more often."""
    shorter = (f"...{text[cut:]}" for cut in range(1, len(text)))
    return next((kept for kept in (text, *shorter) if _text_width(kept) <= width), "")


def _wrap(text: str, width: int) -> list[str]:
    """Split a text into lines of at most ``width`` pixels at spaces, or within a word that is wider."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if _text_width(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and _text_width(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
