"""Cars and vans as small polygon bodies."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from lsabinet_core.data.street.canvas import Canvas
from lsabinet_core.data.street.classes import CAR
from lsabinet_core.data.street.element import Course, Element, Motion, axes, cast
from lsabinet_core.data.street.light import Light


@dataclass(frozen=True)
class CarShape:
    """Dimensions in metres; z runs forward from the middle of the car.

    Attributes:
        length, width, height: outer dimensions (the wheels stand on the ground, the body starts at 0.2).
        belt: height of the lower edge of the windows; nose, tail: heights of the body's front and rear ends.
        screen: (base, top) z of the windscreen; rear: (base, top) z of the rear window.
        has_side_glass: false for a panel van's load space.
    """

    length: float
    width: float
    height: float
    belt: float
    nose: float
    tail: float
    screen: tuple[float, float]
    rear: tuple[float, float]
    has_side_glass: bool = True


SHAPES = {
    "hatchback": CarShape(3.95, 1.72, 1.47, 0.92, 0.74, 0.95, (0.95, 0.30), (-1.85, -1.45)),
    "saloon": CarShape(4.6, 1.8, 1.44, 0.92, 0.76, 0.96, (0.95, 0.20), (-1.55, -0.90)),
    "estate": CarShape(4.6, 1.8, 1.5, 0.94, 0.76, 0.96, (0.95, 0.25), (-2.2, -1.95)),
    "suv": CarShape(4.5, 1.88, 1.74, 1.08, 0.95, 1.08, (0.95, 0.45), (-2.15, -1.85)),
    "van": CarShape(5.2, 2.0, 2.35, 1.2, 1.05, 1.2, (1.75, 1.15), (-2.55, -2.5), has_side_glass=False),
}


def _circle(x: float, z: float, radius: float) -> np.ndarray:
    turn = np.arange(12) * (np.pi / 6)
    return np.stack([np.full(12, x), 0.33 + radius * np.sin(turn), z + radius * np.cos(turn)], axis=1)


def _inset(quad: np.ndarray, share: float) -> np.ndarray:
    middle = quad.mean(axis=0)
    return middle + (quad - middle) * (1 - share)


@cache
def build_car(shape: CarShape) -> list[tuple[np.ndarray, str, np.ndarray]]:
    """Faces of a car as (corners (N, 3) in its own right/up/forward axes, material, outward normal), back to front."""
    half, long, low = shape.width / 2, shape.length / 2, 0.2
    front, rear = shape.screen[0], shape.rear[0]
    faces = []

    def add(points: ArrayLike, material: str, normal: ArrayLike) -> None:
        direction = np.array(normal, dtype=np.float64)
        faces.append((np.array(points, dtype=np.float64), material, direction / np.linalg.norm(direction)))

    for sign in (-1, 1):
        tyres = [_circle(sign * (half - 0.08), z, 0.33) for z in (-0.31 * shape.length, 0.31 * shape.length)]
        for tyre in tyres:
            add(tyre, "tyre", (sign, 0, 0))
    for z, sign in ((-long, -1), (long, 1)):
        bottom = [(-half + 0.12, 0.05, z * 0.93), (half - 0.12, 0.05, z * 0.93), (half, 0.4, z), (-half, 0.4, z)]
        add(bottom, "under", (0, 0, sign))
    for sign in (-1, 1):
        x = sign * half
        outline = [(-long, low), (long, low), (long, shape.nose), (front, shape.belt), (rear, shape.belt)]
        add([(x, y, z) for z, y in [*outline, (-long, shape.tail)]], "body", (sign, 0, 0))
        add([(x, low, -long), (x, low, long), (x, low + 0.13, long), (x, low + 0.13, -long)], "under", (sign, 0, 0))
        for z in (-0.31 * shape.length, 0.31 * shape.length):
            add(_circle(x, z, 0.33), "tyre", (sign, 0, 0))
            add(_circle(x, z, 0.19), "hub", (sign, 0, 0))

    def end(z: float, top: float, sign: int, lamp: str, plate: str) -> None:
        add([(-half, low, z), (half, low, z), (half, top, z), (-half, top, z)], "body", (0, 0, sign))
        add([(-half, low, z), (half, low, z), (half, 0.42, z), (-half, 0.42, z)], "under", (0, 0, sign))
        for side in (-1, 1):
            inner, outer = side * half * 0.58, side * half * 0.96
            lower, upper = top - 0.28, top - 0.08
            add([(inner, lower, z), (outer, lower, z), (outer, upper, z), (inner, upper, z)], lamp, (0, 0, sign))
        add([(-0.27, 0.45, z), (0.27, 0.45, z), (0.27, 0.57, z), (-0.27, 0.57, z)], plate, (0, 0, sign))
        if lamp == "headlamp":
            width = half * 0.5
            points = [(-width, top - 0.25, z), (width, top - 0.25, z), (width, top - 0.1, z), (-width, top - 0.1, z)]
            add(points, "under", (0, 0, sign))

    end(-long, shape.tail, -1, "tail lamp", "rear plate")
    end(long, shape.nose, 1, "headlamp", "front plate")

    def lid(z0: float, y0: float, z1: float, y1: float) -> None:
        normal = np.array([0, abs(z1 - z0), (y0 - y1) * np.sign(z1 - z0)])
        add([(-half, y0, z0), (half, y0, z0), (half, y1, z1), (-half, y1, z1)], "body", normal)

    lid(rear, shape.belt, -long, shape.tail)
    lid(front, shape.belt, long, shape.nose)

    base, roof, top = half * 0.95, half * (0.78 if shape.has_side_glass else 0.92), shape.height
    z0, z1, z2, z3 = rear, shape.rear[1], shape.screen[1], front

    def pane(quad: ArrayLike, normal: ArrayLike, share: float | None) -> None:
        quad = np.array(quad, dtype=np.float64)
        add(quad, "body", normal)
        if share is not None:
            add(_inset(quad, share), "glass", normal)

    rise = top - shape.belt
    pane(
        [(-base, shape.belt, z0), (base, shape.belt, z0), (roof, top, z1), (-roof, top, z1)],
        (0, z1 - z0, -rise),
        0.14 if shape.has_side_glass else 0.5,
    )
    for sign in (-1, 1):
        quad = [(sign * base, shape.belt, z0), (sign * base, shape.belt, z3), (sign * roof, top, z2)]
        quad.append((sign * roof, top, z1))
        normal = (sign * rise, base - roof, 0)
        pane(quad, normal, 0.16 if shape.has_side_glass else None)
        if not shape.has_side_glass:
            cab = [(sign * base, shape.belt, 0.7), (sign * base, shape.belt, z3 - 0.1)]
            cab += [(sign * roof, top - 0.3, z2 + 0.05), (sign * roof, top - 0.3, 0.7)]
            add(cab, "glass", normal)
        else:
            middle = (z0 + z3) / 2
            post = [(sign * base, shape.belt, middle - 0.06), (sign * base, shape.belt, middle + 0.06)]
            post += [(sign * roof, top, middle + 0.06), (sign * roof, top, middle - 0.06)]
            add(post, "body", normal)
    quad = [(-base, shape.belt, z3), (base, shape.belt, z3), (roof, top, z2), (-roof, top, z2)]
    pane(quad, (0, z3 - z2, rise), 0.1)
    add([(-roof, top, z1), (roof, top, z1), (roof, top, z2), (-roof, top, z2)], "body", (0, 1, 0))
    return faces


_MATERIALS = {
    "tyre": (38, 36, 35),
    "hub": (150, 148, 145),
    "under": (45, 43, 42),
    "glass": (82, 72, 62),
    "headlamp": (235, 235, 230),
    "tail lamp": (40, 35, 205),
    "front plate": (225, 225, 225),
    "rear plate": (70, 200, 225),
}


@dataclass
class Car(Element):
    """A car, van or parked car; `reverse` cars face the camera."""

    motion: Motion
    kind: str
    color: tuple[float, float, float]
    reverse: bool = False

    def __post_init__(self):
        self.shape = SHAPES[self.kind]
        self.extent = self.shape.length / 2
        self._faces = build_car(self.shape)

    def _pose(self, course: Course, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """World position and 3x3 matrix whose rows are the car's right, up and forward axes."""
        s, d = self.motion.at(time_s)
        return course.world(s, d), axes(course.heading(s) + (np.pi if self.reverse else 0.0))

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        origin, turn = self._pose(course, time_s)
        if canvas.pixels(self.shape.width, origin) < 3:
            return
        eye = turn @ (np.array(canvas.camera.position) - origin)
        light = canvas.light
        faces, colors = [], []
        sun = turn @ np.array(light.sun)
        for points, material, normal in self._faces:
            if normal @ (eye - points[0]) <= 0:
                continue
            color = np.array(_MATERIALS.get(material, self.color))
            if not material.endswith("lamp"):
                color = color * (light.ambient + light.diffuse * max(0.0, float(normal @ sun)))
            if material == "glass":
                color = 0.8 * color + 0.2 * np.array(light.skyline) * max(0.3, normal[1])
            faces.append(points @ turn + origin)
            colors.append(color)
        if faces:
            canvas.faces(faces, np.array(colors), CAR)

    def footprint(self, course: Course, time_s: float) -> np.ndarray:
        origin, turn = self._pose(course, time_s)
        half, long = self.shape.width / 2 + 0.05, self.shape.length / 2
        corners = np.array([(-half, 0, -long), (half, 0, -long), (half, 0, long), (-half, 0, long)])
        return (corners @ turn + origin)[:, [0, 2]]

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        return [cast(self.footprint(course, time_s), 0.85 * self.shape.height, light)]
