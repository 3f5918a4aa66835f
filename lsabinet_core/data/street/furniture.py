"""Lamp posts, signs, traffic lights and street trees."""

from dataclasses import dataclass

import numpy as np

from lsabinet_core.data.street.canvas import Canvas, Limb
from lsabinet_core.data.street.classes import POLE, SIGN, TREE
from lsabinet_core.data.street.element import Course, Element, Motion, axes, upright_shadow
from lsabinet_core.data.street.light import Color, Light

_FRONTAL = (0.0, 0.2, -0.98)
_THINNEST_PX = 2.2


@dataclass
class LampPost(Element):
    """A lamp post with an arm over the road, or a bare or telegraph pole.

    Attributes:
        kind: "lamp", "telegraph" or "bare". height, radius: metres; radius at the foot.
    """

    motion: Motion
    kind: str
    height: float
    radius: float
    color: Color
    extent: float = 0.15

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        s, d = self.motion.at(time_s)
        base = course.world(s, d, 0.0)
        if canvas.pixels(2 * self.radius, base) < _THINNEST_PX:
            return
        color = canvas.light.shade(self.color, _FRONTAL)
        high, thick = self.height, self.radius
        limbs: list[Limb] = []
        if self.kind == "lamp":
            inward = -float(np.sign(d))
            reach, tip = (1.7 * inward, high + 0.35, 0), (2.25 * inward, high + 0.35, 0)
            limbs.append(((0, high, 0), reach, 0.7 * thick, 0.6 * thick, color))
            limbs.append((reach, tip, 0.13, 0.11, color * 0.8))
        elif self.kind == "telegraph":
            for drop in (0.3, 0.8):
                limbs.append(((-0.9, high - drop, 0), (0.9, high - drop, 0), 0.07, 0.07, color * 0.9))
        limbs.append(((0, 0, 0), (0, high, 0), thick, 0.75 * thick, color))
        # A bright streak makes the shaft look round.
        x = -0.45 * thick
        limbs.append(((x, 0.2, -thick), (x, high, -thick), 0.3 * thick, 0.2 * thick, color * 1.18))
        if self.kind == "lamp":
            limbs.append(((0, 0, 0), (0, 1.1, 0), 1.35 * thick, 1.35 * thick, color * 0.9))
        canvas.limbs(limbs, base, axes(0.0), POLE)

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        return [upright_shadow(course.world(*self.motion.at(time_s)), 2 * self.radius, self.height, light)]


def _regular(count: int, start: float) -> np.ndarray:
    angle = start + np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


_SHAPES = {
    "disc": _regular(20, 0.0),
    "triangle": _regular(3, np.pi / 2) * 1.2,
    "diamond": _regular(4, 0.0) * 1.15,
    "octagon": _regular(8, np.pi / 8),
    "square": _regular(4, np.pi / 4) * 1.3,
    "board": _regular(4, np.pi / 4) * (1.9, 1.15),
}
_MARKS = {
    "bar": _SHAPES["square"] * (0.36, 0.12),
    "post": _SHAPES["square"] * (0.1, 0.36),
    "dot": _SHAPES["disc"] * 0.3,
}
_CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])


def _plate(outline: np.ndarray, height: float, forward: float) -> np.ndarray:
    """An upright plate (N, 3) in right, up and forward axes from its outline (N, 2), facing backwards."""
    return np.stack([outline[:, 0], outline[:, 1] + height, np.full(len(outline), forward)], axis=1)


@dataclass
class RoadSign(Element):
    """A sign on a post, facing the camera.

    Attributes:
        kind: "disc", "triangle", "diamond", "octagon", "square" or "board".
        radius: half the size in metres. rim, face, mark: colours from the outside in.
    """

    motion: Motion
    kind: str
    radius: float
    height: float
    rim: Color
    face: Color
    mark: Color
    post: Color
    mark_shape: str
    extent: float = 0.15

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        s, d = self.motion.at(time_s)
        base = course.world(s, d)
        if canvas.pixels(0.18, base) < _THINNEST_PX:
            return
        shade = canvas.light.shade
        turn = axes(course.heading(s))
        shaft = ((0, 0, 0), (0, self.height, 0), 0.09, 0.085, shade(self.post, _FRONTAL))
        canvas.limbs([shaft], base, turn, POLE)
        outline = _SHAPES[self.kind]
        shapes = (outline, outline * 0.78, _MARKS[self.mark_shape])
        faces = [_plate(self.radius * shape, self.height, -0.12) @ turn + base for shape in shapes]
        colors = np.array([shade(color, _FRONTAL) for color in (self.rim, self.face, self.mark)])
        canvas.faces(faces, colors, SIGN)

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        return [upright_shadow(course.world(*self.motion.at(time_s)), 0.18, self.height, light)]


@dataclass
class TrafficLight(Element):
    """A signal head (SignSymbol) on a pole; `lit` is 0 red, 1 amber, 2 green."""

    motion: Motion
    lit: int
    post: Color
    extent: float = 0.15

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        s, d = self.motion.at(time_s)
        base = course.world(s, d)
        if canvas.pixels(0.2, base) < _THINNEST_PX:
            return
        turn = axes(course.heading(s))
        shaft = ((0, 0, 0), (0, 3.5, 0), 0.1, 0.09, canvas.light.shade(self.post, _FRONTAL))
        canvas.limbs([shaft], base, turn, POLE)
        boards = [_plate(_CORNERS * half, 2.95, -0.14) @ turn + base for half in ((0.4, 0.78), (0.33, 0.71))]
        colors = np.array([canvas.light.shade((190, 192, 195), _FRONTAL), (32, 32, 32)])
        canvas.faces(boards, colors, SIGN)
        lamps = []
        for index, color in enumerate(((45, 45, 245), (40, 190, 255), (130, 235, 60))):
            center = (0, 3.4 - 0.45 * index, -0.16)
            shown = np.array(color) * (1.0 if index == self.lit else 0.28)
            lamps.append((center, center, 0.17, 0.17, shown))
        canvas.limbs(lamps, base, turn, SIGN)

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        return [upright_shadow(course.world(*self.motion.at(time_s)), 0.3, 3.6, light)]


@dataclass
class StreetTree(Element):
    """A trunk with a crown, both labelled Tree.

    Attributes:
        height: metres to the middle of the crown; crown: (width, height) of the crown, metres.
        texture, mask: from `textures.canopy`.
    """

    motion: Motion
    height: float
    crown: tuple[float, float]
    trunk: Color
    texture: np.ndarray
    mask: np.ndarray
    extent: float = 0.4

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        s, d = self.motion.at(time_s)
        base = course.world(s, d)
        if canvas.pixels(self.crown[0], base) < 3:
            return
        color = canvas.light.shade(self.trunk, _FRONTAL)
        thick = 0.04 * self.height + 0.03
        limbs: list[Limb] = [((0, 0, 0), (0, self.height, 0), thick, 0.7 * thick, color)]
        for lean in (-0.9, 0.8):
            tip = (lean, self.height, 0.2)
            limbs.append(((0, 0.6 * self.height, 0), tip, 0.4 * thick, 0.25 * thick, color * 0.9))
        canvas.limbs(limbs, base, axes(0.0), TREE)
        canvas.sprite(base + (0, self.height, 0), *self.crown, self.texture, self.mask, TREE)

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        base = course.world(*self.motion.at(time_s))
        middle = base[[0, 2]] + self.height * np.array(light.shadow_shift)
        crown = middle + _regular(12, 0.0) * (0.42 * self.crown[0])
        return [upright_shadow(base, 0.3, self.height, light), crown]
