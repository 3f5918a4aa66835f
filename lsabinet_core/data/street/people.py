"""Pedestrians and cyclists, built from limbs."""

from dataclasses import dataclass

import numpy as np

from lsabinet_core.data.street.canvas import Canvas, Limb
from lsabinet_core.data.street.classes import BICYCLIST, PEDESTRIAN
from lsabinet_core.data.street.element import Course, Element, Motion, axes, upright_shadow
from lsabinet_core.data.street.light import Color, Light

_FRONTAL = (0.0, 0.3, -0.95)  # limbs are shaded as if they faced the camera
_SMALLEST_PX = 6.0  # narrower figures are left out
_TURN = np.arange(16) * (np.pi / 8)


@dataclass
class Pedestrian(Element):
    """Someone on foot; `heading` in radians relative to the street, 0 away from the camera.

    Attributes:
        height: metres. coat: whether the upper garment reaches the knees. bag: colour of a bag, or None.
        foot: height of the ground under the feet, metres.
    """

    motion: Motion
    heading: float
    height: float
    top: Color
    legs: Color
    skin: Color
    hair: Color
    coat: bool
    bag: Color | None
    phase: float
    foot: float
    extent: float = 0.3

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        s, d = self.motion.at(time_s)
        base = course.world(s, d, self.foot)
        if canvas.pixels(0.3 * self.height, base) < _SMALLEST_PX:
            return
        light = canvas.light.shade((1.0, 1.0, 1.0), _FRONTAL)
        top, legs, skin, hair = (light * c for c in (self.top, self.legs, self.skin, self.hair))
        shoe = light * (45, 45, 48)
        # One step is 0.42 of the height long; someone who stands still keeps a small stride.
        swing = float(np.sin(np.pi * self.motion.walked(time_s) / (0.42 * self.height) + self.phase))
        stride = (0.15 if self.motion.speed or self.motion.is_crossing(time_s) else 0.03) * swing
        limbs: list[Limb] = []
        for side, step in ((-1, stride), (1, -stride)):
            knee, ankle = (0.055 * side, 0.27, 0.5 * step + 0.02), (0.055 * side, 0.03, step)
            limbs.append(((0.05 * side, 0.5, 0), knee, 0.058, 0.046, legs))
            limbs.append((knee, ankle, 0.044, 0.032, legs))
            limbs.append((ankle, (0.06 * side, 0.02, step + 0.07), 0.026, 0.022, shoe))
        # Arms and bag hang on either side of the trunk: the far side is drawn before it, the near side after it.
        turn = axes(course.heading(s) + self.heading)
        near = 1 if turn[0] @ (np.array(canvas.camera.position) - base) > 0 else -1
        limbs += self._arm(-near, stride, top, skin, light)
        limbs.append(((0, 0.3 if self.coat else 0.5, 0), (0, 0.68, 0), 0.1, 0.095, top))
        for side in (-1, 1):
            limbs.append(((0, 0.6, 0), (0.065 * side, 0.77, 0), 0.08, 0.06, top))
        limbs += self._arm(near, stride, top, skin, light)
        limbs.append(((0, 0.82, 0), (0, 0.88, 0), 0.035, 0.035, skin))
        limbs.append(((0, 0.935, 0.01), (0, 0.935, 0.01), 0.065, 0.065, hair))
        face = skin if np.cos(self.heading) < 0.3 else hair
        limbs.append(((0, 0.915, 0.035), (0, 0.915, 0.035), 0.055, 0.055, face))
        # The figure is given in shares of the height.
        sized = [(start, end, self.height * r0, self.height * r1, color) for start, end, r0, r1, color in limbs]
        canvas.limbs(sized, base, self.height * turn, PEDESTRIAN)

    def _arm(self, side: int, stride: float, top: np.ndarray, skin: np.ndarray, light: np.ndarray) -> list[Limb]:
        step = side * stride
        elbow, hand = (0.15 * side, 0.62, 0.4 * step), (0.15 * side, 0.48, 0.9 * step + 0.02)
        limbs: list[Limb] = [
            ((0.12 * side, 0.79, 0), elbow, 0.036, 0.032, top * 0.85),
            (elbow, hand, 0.03, 0.026, top * 0.8),
        ]
        limbs.append((hand, hand, 0.027, 0.027, skin))
        if self.bag is not None and side > 0:
            limbs.append(((0.16, 0.5, 0), (0.16, 0.42, 0), 0.045, 0.055, light * self.bag))
        return limbs

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        return [upright_shadow(course.world(*self.motion.at(time_s)), 0.45, self.height, light)]

    def footprint(self, course: Course, time_s: float) -> np.ndarray:
        return _disc(course.world(*self.motion.at(time_s)), 0.3)


@dataclass
class Cyclist(Element):
    """A rider on a bicycle; `heading` in radians relative to the street, 0 away from the camera."""

    motion: Motion
    heading: float
    top: Color
    legs: Color
    skin: Color
    helmet: Color
    frame: Color
    phase: float
    extent: float = 0.9

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        s, d = self.motion.at(time_s)
        base = course.world(s, d)
        if canvas.pixels(0.55, base) < _SMALLEST_PX:
            return
        light = canvas.light.shade((1.0, 1.0, 1.0), _FRONTAL)
        colors = (self.top, self.legs, self.skin, self.helmet, self.frame, (40, 40, 42), (120, 122, 124))
        top, legs, skin, helmet, frame, tyre, spokes = (light * c for c in colors)
        turn = axes(course.heading(s) + self.heading)
        # Wheels are flat discs, with an upright limb that gives them their width when seen end on.
        ring = np.stack([0 * _TURN, np.sin(_TURN), np.cos(_TURN)], axis=1)
        faces = [radius * ring + (0, 0.35, z) for z in (-0.53, 0.53) for radius in (0.35, 0.29)]
        canvas.faces([face @ turn + base for face in faces], np.array([tyre, spokes] * 2), BICYCLIST)
        limbs: list[Limb] = [((0, 0.04, z), (0, 0.66, z), 0.03, 0.03, tyre) for z in (-0.53, 0.53)]
        crank, seat, head, hub = (0, 0.3, -0.02), (0, 0.9, -0.2), (0, 0.85, 0.38), (0, 0.35, -0.53)
        tubes = ((crank, seat), (crank, head), (seat, head), (seat, hub), (crank, hub), (head, (0, 0.35, 0.53)))
        for start, end in tubes:
            limbs.append((start, end, 0.035, 0.033, frame))
        limbs.append((head, (0, 1.02, 0.36), 0.03, 0.03, tyre))
        limbs.append(((-0.28, 1.03, 0.36), (0.28, 1.03, 0.36), 0.025, 0.025, tyre))
        limbs.append(((0, 0.93, -0.32), (0, 0.93, -0.1), 0.06, 0.04, tyre))
        angle = self.motion.walked(time_s) / 0.9 + self.phase
        for side in (-1, 1):
            pedal = angle + (0 if side > 0 else np.pi)
            foot = (0.11 * side, 0.3 + 0.16 * np.cos(pedal), 0.16 * np.sin(pedal))
            knee = (0.13 * side, 0.5 * (foot[1] + 1.0) + 0.05, 0.5 * (foot[2] - 0.2) + 0.27)
            limbs.append(((0.1 * side, 0.98, -0.2), knee, 0.095, 0.075, legs))
            limbs.append((knee, foot, 0.07, 0.05, legs * 0.92))
            limbs.append((foot, (foot[0], foot[1] - 0.02, foot[2] + 0.14), 0.045, 0.04, tyre))
        for side in (-1, 1):
            elbow, hand = (0.26 * side, 1.2, 0.16), (0.24 * side, 1.06, 0.36)
            limbs.append(((0.19 * side, 1.42, 0.08), elbow, 0.065, 0.055, top * 0.85))
            limbs.append((elbow, hand, 0.05, 0.045, top * 0.85))
            limbs.append((hand, hand, 0.05, 0.05, skin))
        limbs.append(((0, 1.02, -0.2), (0, 1.22, -0.06), 0.17, 0.17, top))
        for side in (-1, 1):
            limbs.append(((0, 1.15, -0.1), (0.11 * side, 1.42, 0.07), 0.15, 0.11, top))
        limbs.append(((0, 1.66, 0.17), (0, 1.66, 0.17), 0.105, 0.105, skin))
        limbs.append(((0, 1.72, 0.1), (0, 1.72, 0.22), 0.115, 0.1, helmet))
        canvas.limbs(limbs, base, turn, BICYCLIST)

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        return [upright_shadow(course.world(*self.motion.at(time_s)), 0.6, 1.7, light)]

    def footprint(self, course: Course, time_s: float) -> np.ndarray:
        return _disc(course.world(*self.motion.at(time_s)), 0.45)


def _disc(point: np.ndarray, radius: float) -> np.ndarray:
    turn = np.arange(8) * (np.pi / 4)
    return point[[0, 2]] + radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
