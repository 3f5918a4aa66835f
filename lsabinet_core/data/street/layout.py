"""Random streets: selection and placement of their elements."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lsabinet_core.data.street.buildings import Building, FacadeStyle, Fence
from lsabinet_core.data.street.element import Course, Element, Motion
from lsabinet_core.data.street.furniture import LampPost, RoadSign, StreetTree, TrafficLight
from lsabinet_core.data.street.ground import Ground
from lsabinet_core.data.street.light import Color, Light, neutral, random_light
from lsabinet_core.data.street.textures import canopy
from lsabinet_core.data.street.traffic import add_traffic


@dataclass(frozen=True)
class Street:
    """A street and everything in it, at every time.

    Attributes:
        lane: lateral position of the middle of the camera's lane, metres, negative where traffic keeps left.
        speed: of the camera, metres per second.
        skyline_seed, clouds: look of the background.
    """

    course: Course
    ground: Ground
    light: Light
    lane: float
    speed: float
    elements: tuple[Element, ...]
    skyline_seed: int
    clouds: float


def random_street(rng: np.random.Generator, length: float, duration_s: float) -> Street:
    """Create a street that starts 12 m behind s = 0 and ends at s = length metres.

    Args:
        duration_s: duration of the camera's drive in seconds; 0 for a still image.
    """
    light = random_light(rng)
    half_road = float(rng.uniform(3.6, 5.6))
    pavement = (float(rng.uniform(1.9, 3.8)), float(rng.uniform(1.9, 3.8)))
    amplitude = 0.0 if rng.random() < 0.4 else float(rng.uniform(1.0, 7.0))
    course = Course(amplitude, float(2 * np.pi / rng.uniform(170, 320)), float(rng.uniform(0, 2 * np.pi)))
    crossings = tuple(np.arange(rng.uniform(8, 70), length, rng.uniform(55, 90)))
    grey, pave = rng.uniform(78, 138), rng.uniform(105, 185)
    ground = Ground(
        half_road=half_road,
        pavement=pavement,
        tarmac=tuple(grey * np.array([1.0, rng.uniform(0.96, 1.0), rng.uniform(0.94, 1.02)])),
        paving=tuple(pave * np.array([rng.uniform(0.82, 1.0), rng.uniform(0.9, 1.0), rng.uniform(0.96, 1.1)])),
        kerb=neutral(rng.uniform(150, 200)),
        grass=tuple(np.array([55, 120, 95]) * rng.uniform(0.75, 1.15)),
        dash=(2.5, float(rng.uniform(5.0, 7.5))),
        edge_line=bool(rng.random() < 0.4),
        crossings=crossings if rng.random() < 0.75 else (),
        slab=(float(rng.uniform(0.6, 1.2)), float(rng.uniform(0.5, 1.0))),
        patch=float(rng.uniform(0.03, 0.08)),
        offset=float(rng.uniform(0, 500)),
    )
    hand = -1 if rng.random() < 0.5 else 1
    lane = hand * half_road * float(rng.uniform(0.36, 0.44))
    speed = 8.0 if duration_s else 0.0
    elements: list[Element] = []
    crowns = [canopy(rng, _leaf(rng), float(np.clip(light.sun[0] * 1.5, -1, 1))) for _ in range(3)]
    for side in (-1, 1):
        edge = half_road + pavement[(side + 1) // 2]
        _add_plots(rng, elements, side, edge, length, crowns)
        _add_furniture(rng, elements, side, half_road, edge, length, crowns, crossings)
    add_traffic(rng, elements, ground, hand, lane, speed, length, duration_s)
    return Street(
        course=course,
        ground=ground,
        light=light,
        lane=lane,
        speed=speed,
        elements=tuple(elements),
        skyline_seed=int(rng.integers(1 << 31)),
        clouds=float(rng.uniform(0, 500)),
    )


def _leaf(rng: np.random.Generator) -> tuple[float, float, float]:
    """Leaf green, from dark and bluish to autumn yellow."""
    tone = rng.uniform(0.75, 1.15)
    return (tone * rng.uniform(40, 75), tone * rng.uniform(105, 140), tone * rng.uniform(65, 125))


def _grey(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    value = rng.uniform(low, high)
    return (value * rng.uniform(0.94, 1.04), value, value * rng.uniform(0.96, 1.04))


_WALLS = {
    "brick": ((55, 70, 135), (75, 95, 150), (60, 90, 165), (95, 110, 130), (110, 150, 175)),
    "render": ((205, 215, 220), (175, 205, 220), (190, 190, 185), (150, 175, 205), (205, 195, 170), (170, 180, 215)),
    "panel": ((150, 150, 150), (175, 165, 155), (125, 140, 150), (190, 195, 200)),
}


def _style(rng: np.random.Generator) -> FacadeStyle:
    material = str(rng.choice(["brick", "render", "panel"], p=(0.45, 0.35, 0.2)))
    palette = _WALLS[material]
    wall = np.array(palette[int(rng.integers(len(palette)))]) * rng.uniform(0.8, 1.12)
    storey = float(rng.uniform(2.8, 3.6))
    doors = ((50, 45, 120), (110, 60, 30), (60, 90, 40), (45, 45, 45), (40, 130, 190), (190, 190, 190))
    return FacadeStyle(
        material=material,
        wall=tuple(wall),
        frame=_grey(rng, 190, 235) if rng.random() < 0.75 else _grey(rng, 50, 90),
        glass=tuple(np.array([115, 100, 85]) * rng.uniform(0.6, 1.3)),
        door=doors[int(rng.integers(len(doors)))],
        storey=storey,
        bay=float(rng.uniform(2.2, 3.6)),
        window=(float(rng.uniform(0.9, 1.7)), float(rng.uniform(1.2, min(1.8, storey - 1.2)))),
        shop=bool(rng.random() < 0.3),
        seed=int(rng.integers(1 << 31)),
    )


def _building(rng: np.random.Generator, side: int, start: float, end: float, front: float, tall: bool) -> Building:
    roofs = ((60, 75, 115), (85, 85, 90), (70, 70, 72), (75, 85, 130))
    style = _style(rng)
    storeys = int(rng.integers(2, 6 if tall else 4))
    return Building(
        motion=Motion((start + end) / 2, side * front),
        extent=(end - start) / 2,
        side=side,
        height=storeys * style.storey + 0.5,
        depth=float(rng.uniform(7, 10)),
        roof=float(rng.uniform(2.0, 3.5)) if rng.random() < 0.6 else 0.0,
        roof_color=roofs[int(rng.integers(len(roofs)))],
        style=style,
    )


def _fence(rng: np.random.Generator, side: int, start: float, end: float, d: float, kind: str) -> Fence:
    wood = ((70, 105, 145), (95, 125, 155), (60, 80, 105), (190, 200, 205), (75, 105, 80), (120, 125, 130))
    metal = ((45, 45, 45), (60, 85, 50), (150, 152, 155), (205, 205, 205), (95, 60, 40))
    palette = wood if kind == "boards" else metal
    color = _leaf(rng) if kind == "hedge" else palette[int(rng.integers(len(palette)))]
    return Fence(
        motion=Motion((start + end) / 2, side * d),
        extent=(end - start) / 2,
        kind=kind,
        height=float(rng.uniform(1.3, 2.0)) if kind != "railing" else float(rng.uniform(1.1, 1.6)),
        color=tuple(np.array(color) * rng.uniform(0.85, 1.1)),
        spacing=float(rng.uniform(0.14, 0.22)),
        seed=int(rng.integers(1 << 31)),
    )


def _tree(
    rng: np.random.Generator, s: float, d: float, crowns: list[tuple[np.ndarray, np.ndarray]], large: bool
) -> StreetTree:
    width = float(rng.uniform(4.0, 7.5) if large else rng.uniform(2.6, 4.6))
    texture, mask = crowns[int(rng.integers(len(crowns)))]
    bark = (_grey(rng, 60, 110), (60, 80, 105), (45, 60, 75))[int(rng.integers(3))]
    return StreetTree(
        motion=Motion(s, d),
        height=float(rng.uniform(3.9, 5.2)) + 0.25 * (width - 3),
        crown=(width, width * float(rng.uniform(0.8, 1.15))),
        trunk=bark,
        texture=texture,
        mask=mask,
    )


def _add_plots(
    rng: np.random.Generator,
    elements: list[Element],
    side: int,
    edge: float,
    length: float,
    crowns: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Line one side of the street with houses, front gardens and small parks."""
    s = -12.0 - float(rng.uniform(0, 8))
    tall = rng.random() < 0.4
    while s < length:
        size = float(rng.uniform(8, 15))
        end = s + size
        kind = rng.choice(3, p=(0.46, 0.32, 0.22))
        if kind == 0:
            elements.append(_building(rng, side, s, end - float(rng.choice([0.0, 0.0, 1.5])), edge + 0.05, tall))
        else:
            barrier = str(rng.choice(["boards", "railing", "hedge"], p=(0.47, 0.43, 0.1)))
            elements.append(_fence(rng, side, s, end, edge, barrier))
            if kind == 1:
                setback = float(rng.uniform(3.5, 6.0))
                elements.append(_building(rng, side, s + 0.8, end - 0.8, edge + setback, tall))
                if rng.random() < 0.5:
                    elements.append(_tree(rng, float(rng.uniform(s + 2, end - 2)), side * (edge + 1.8), crowns, False))
            else:
                for start in np.arange(s + 2, end, 4.0):
                    d = side * (edge + float(rng.uniform(2.5, 7)))
                    elements.append(_tree(rng, float(start + rng.uniform(0, 2)), d, crowns, True))
        s = end


def _add_furniture(
    rng: np.random.Generator,
    elements: list[Element],
    side: int,
    half_road: float,
    edge: float,
    length: float,
    crowns: list[tuple[np.ndarray, np.ndarray]],
    crossings: Sequence[float],
) -> None:
    """Posts, signs and trees along the kerb, and lights and railings where people cross."""
    kerb = side * (half_road + 0.5)
    steel = _grey(rng, 75, 165) if rng.random() < 0.7 else (55, 80, 50)
    s = float(rng.uniform(-8, 4))
    last = -100.0
    while s < length:
        kind = rng.choice(5, p=(0.34, 0.10, 0.26, 0.12, 0.18))
        motion = Motion(s, kerb)
        if kind == 0:
            height, radius = float(rng.uniform(5.5, 8)), float(rng.uniform(0.11, 0.15))
            elements.append(LampPost(motion, "lamp", height, radius, steel))
        elif kind == 1:
            wood = tuple(np.array([65, 85, 105]) * rng.uniform(0.7, 1.2))
            shape = "telegraph" if rng.random() < 0.6 else "bare"
            radius = float(rng.uniform(0.13, 0.17))
            elements.append(LampPost(motion, shape, float(rng.uniform(6, 8.5)), radius, wood))
        elif kind == 2:
            elements.append(_sign(rng, motion, steel))
        elif kind == 3:
            elements.append(TrafficLight(motion, int(rng.integers(3)), steel))
        elif edge - half_road > 2.4:
            elements.append(_tree(rng, s, side * (half_road + 0.8), crowns, False))
        if s - last > 16 and rng.random() < 0.35:
            fence = _fence(rng, side, s + 1.0, s + 4.6, half_road + 0.25, "railing")
            elements.append(fence)
            last = s
        s += float(rng.uniform(3.5, 8.5))
    for crossing in crossings:
        elements.append(TrafficLight(Motion(crossing - 2.3, kerb), int(rng.integers(3)), steel))


def _sign(rng: np.random.Generator, motion: Motion, post: Color) -> RoadSign:
    red, white, blue = (45, 40, 200), (228, 230, 230), (175, 90, 30)
    black, yellow, green = (35, 35, 35), (45, 200, 240), (80, 115, 30)
    looks = (
        ("disc", red, white, black, 0.45),
        ("triangle", red, white, black, 0.5),
        ("disc", blue, blue, white, 0.45),
        ("octagon", white, red, white, 0.45),
        ("diamond", white, yellow, black, 0.5),
        ("square", white, blue, white, 0.45),
        ("board", white, green, white, 0.5),
        ("board", black, yellow, black, 0.5),
        ("board", white, blue, white, 0.5),
        ("disc", white, red, white, 0.45),
    )
    kind, rim, face, mark, radius = looks[int(rng.integers(len(looks)))]
    tone = rng.uniform(0.85, 1.05)
    return RoadSign(
        motion=motion,
        kind=kind,
        radius=radius * float(rng.uniform(0.95, 1.3)),
        height=float(rng.uniform(2.4, 3.1)),
        rim=(tone * rim[0], tone * rim[1], tone * rim[2]),
        face=(tone * face[0], tone * face[1], tone * face[2]),
        mark=mark,
        post=post,
        mark_shape=str(rng.choice(["bar", "post", "dot"])),
    )
