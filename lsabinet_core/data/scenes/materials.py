"""Material table for the shader, one row of numbers per material."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lsabinet_core.data.scenes.mesh import Vector

# Kinds of surface; the meaning of `detail` depends on the kind.
PLAIN = 0  # two colours mixed by noise
GROUND = 1  # looked up in the ground map
FACADE = (
    2  # detail: bay m, storey m, window width m, window height m, wall pattern, share of lit windows, frame m, sill
)
CURTAIN_WALL = 3  # detail: pane width m, pane height m, mullion m, share of lit panes
LEAVES = 4
PAINT = 5  # car body with a clear coat
GLAZING = 6  # car windows
SIGN = 7  # detail: face (see shade._sign); uv range from -1 to 1
LAMP = 8  # emits `emission` times its colour
SHOP = 9  # detail: front width m, height m, height of the signboard m, share of glass
ROOF = 10  # detail: height of a row of tiles m
CLOTH = 11  # detail: stripe m (0: none)
BOARDS = 12  # detail: board m, dark gap as a share of a board
BACKDROP = 13  # distant trees or houses; detail: 1 for houses

PLASTER, BRICK, PANEL, STONE = range(4)  # wall patterns of FACADE

WIDTH = 20
_KIND, _BASE, _SECOND, _SCALE, _STRENGTH, _GLOSS, _EMISSION, _DETAIL = 0, 1, 4, 7, 8, 9, 10, 11


@dataclass
class Materials:
    """Rows of the material table; `add` returns the index of the new row."""

    rows: list[np.ndarray] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)

    def add(
        self,
        kind: int,
        base: Vector,
        second: Vector | None = None,
        scale: float = 0.5,
        strength: float = 0.1,
        gloss: float = 0.0,
        emission: float = 0.0,
        detail: Sequence[float] = (),
        mask: int = -1,
    ) -> int:
        """Add a material.

        Args:
            base, second: linear RGB. scale: metres per repeat of the finest noise. strength: contrast of the noise.
            gloss: share of mirrored light, 0..1. mask: row of the cut-out masks, or -1 for a closed surface.
        """
        row = np.zeros(WIDTH, np.float32)
        row[_KIND] = kind
        row[_BASE : _BASE + 3] = base
        row[_SECOND : _SECOND + 3] = base if second is None else second
        row[_SCALE:_DETAIL] = scale, strength, gloss, emission
        row[_DETAIL : _DETAIL + len(detail)] = detail
        self.rows.append(row)
        self.masks.append(mask)
        return len(self.rows) - 1

    def table(self) -> np.ndarray:
        """float32 (N, 20)."""
        return np.stack(self.rows)

    def mask_of(self) -> np.ndarray:
        """int32 (N,), the cut-out mask of each material."""
        return np.array(self.masks, np.int32)


def linear(red: float, green: float, blue: float) -> np.ndarray:
    """Convert a display colour 0..255 to linear reflectance."""
    return (np.array([red, green, blue]) / 255.0) ** 2.2


def tinted(rng: np.random.Generator, color: Vector, tone: float = 0.25, hue: float = 0.06) -> np.ndarray:
    """Return a linear colour with random variation of brightness and hue."""
    return np.clip(np.asarray(color) * np.exp(rng.normal(0, tone)) * np.exp(rng.normal(0, hue, 3)), 0.004, 0.92)
