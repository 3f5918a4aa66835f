"""Buildings and fences along the street."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from lsabinet_core.data.street.canvas import Canvas
from lsabinet_core.data.street.classes import BUILDING, FENCE, TREE
from lsabinet_core.data.street.element import Course, Element, Motion
from lsabinet_core.data.street.light import Color, Light
from lsabinet_core.data.street.textures import NOISE_SIZE, boards, hedge, railing, speckle

_LEVELS = (5, 10, 20, 40)  # texels per metre


@dataclass(frozen=True)
class FacadeStyle:
    """Look of a building's front. Lengths in metres, colours BGR.

    `material` is "brick", "render" or "panel"; `shop` puts shop windows on the ground floor.
    """

    material: str
    wall: tuple[float, float, float]
    frame: tuple[float, float, float]
    glass: tuple[float, float, float]
    door: tuple[float, float, float]
    storey: float
    bay: float
    window: tuple[float, float]
    shop: bool
    seed: int


def paint_facade(style: FacadeStyle, length: float, height: float, scale: int, has_door: bool) -> np.ndarray:
    """BGR uint8 texture of a wall with windows, `scale` texels per metre."""
    rng = np.random.default_rng(style.seed)
    shape = (max(4, int(height * scale)), max(4, int(length * scale)))
    texture = speckle(style.wall, shape, 0.07, int(rng.integers(NOISE_SIZE)), max(1, 40 // scale))
    if style.material == "brick" and scale >= 10:
        course = max(2, scale // 10)
        texture[::course] = cv2.convertScaleAbs(texture[::course], None, 0.86)
    elif style.material == "panel":
        for y in np.arange(0, height, style.storey):
            row = int(y * scale)
            joint = texture[row : row + max(1, scale // 10)]
            joint[:] = joint * 0.8

    def box(x: float, y: float, wide: float, tall: float, color: Color | np.ndarray) -> None:
        """Fill a rectangle given in metres from the lower left corner."""
        upper_left = (int(x * scale), shape[0] - int((y + tall) * scale))
        lower_right = (int((x + wide) * scale) - 1, shape[0] - int(y * scale) - 1)
        cv2.rectangle(texture, upper_left, lower_right, tuple(float(c) for c in color), -1)

    dark = np.array(style.glass) * 0.55
    bays = max(1, int(length / style.bay))
    pitch = length / bays
    wide, tall = style.window
    door_bay = int(rng.integers(bays))
    for floor in range(max(1, int(height / style.storey))):
        base = floor * style.storey
        if base + 0.8 + tall > height:
            break
        for bay in range(bays):
            x = (bay + 0.5) * pitch - wide / 2
            glint = rng.uniform(0.7, 1.35)
            if floor == 0 and style.shop:
                box(bay * pitch + 0.15, 0.5, pitch - 0.3, style.storey - 1.3, np.array(style.glass) * glint * 0.8)
                continue
            if floor == 0 and has_door and bay == door_bay:
                box(x - 0.05, 0, 1.2, 2.3, style.frame)
                box(x + 0.07, 0, 0.96, 2.15, style.door)
                continue
            y = base + 0.85
            box(x - 0.1, y - 0.1, wide + 0.2, tall + 0.2, style.frame)
            box(x, y, wide, tall, np.array(style.glass) * glint)
            box(x, y + 0.55 * tall, wide, 0.45 * tall, dark * glint)
            if scale >= 10:
                box(x + wide / 2 - 0.04, y, 0.08, tall, style.frame)
                box(x - 0.15, y - 0.2, wide + 0.3, 0.1, np.array(style.wall) * 0.7)
    if style.shop:
        box(0, style.storey - 0.75, length, 0.55, style.door)
        box(0, 0, length, 0.45, np.array(style.door) * 0.6)
    box(0, height - 0.25, length, 0.25, np.array(style.wall) * 0.75)
    return texture


@dataclass
class Building(Element):
    """A house with its front along the street.

    Attributes:
        side: -1 left, 1 right. motion.d is the signed lateral position of the front, motion.s its middle.
        depth: how far it reaches away from the street; roof: rise of a pitched roof, 0 for a flat one.
    """

    motion: Motion
    extent: float
    side: int
    height: float
    depth: float
    roof: float
    roof_color: tuple[float, float, float]
    style: FacadeStyle
    _textures: dict = field(default_factory=dict, repr=False)

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        near, far, front = self.motion.s - self.extent, self.motion.s + self.extent, self.motion.d
        eye = canvas.camera.position
        back = front + self.side * self.depth
        ridge = front + self.side * self.depth / 2
        light = canvas.light
        if self.roof:
            slope = np.array([-self.side * self.roof, self.depth / 2, 0]) / np.hypot(self.roof, self.depth / 2)
            corners = ((near, front, 0), (far, front, 0), (far, ridge, self.roof), (near, ridge, self.roof))
            points = [course.world(s, d, self.height + up) for s, d, up in corners]
            canvas.polygon(points, light.shade(self.roof_color, slope), BUILDING)
        gap = max(abs(front - (eye[0] - course.center(eye[2]))) * 1.3, near - eye[2], 1.0)
        scale = next((level for level in _LEVELS if level >= 0.8 * canvas.camera.focal / gap), _LEVELS[-1])
        up = np.array([0, self.height, 0])
        if near > eye[2]:
            corner = course.world(near, front)
            if self.roof:
                edge = ((front, 0), (back, 0), (ridge, self.roof))
                points = [course.world(near, d, self.height + rise) for d, rise in edge]
                canvas.polygon(points, light.shade(self.style.wall, (0, 0, -1)), BUILDING)
            along = course.world(near, back) - corner
            if canvas.sees([corner, corner + along, corner + along + up, corner + up]):
                wall = self._wall("gable", self.depth, scale, light, (0.0, 0.0, -1.0))
                canvas.textured(corner, along, up, wall, BUILDING)
        corner = course.world(near, front)
        along = course.world(far, front) - corner
        if canvas.sees([corner, corner + along, corner + along + up, corner + up]):
            wall = self._wall("front", 2 * self.extent, scale, light, (-self.side, 0.0, 0.0))
            canvas.textured(corner, along, up, wall, BUILDING)

    def _wall(
        self, part: str, length: float, scale: int, light: Light, normal: tuple[float, float, float]
    ) -> np.ndarray:
        if (part, scale) not in self._textures:
            texture = paint_facade(self.style, length, self.height, scale, part == "front")
            factor = light.ambient + light.diffuse * max(0.0, float(np.dot(light.sun, normal)))
            self._textures[part, scale] = cv2.convertScaleAbs(texture, None, factor)
        return self._textures[part, scale]

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        if light.sun[0] * self.side <= 0.05:
            return []
        near, far = self.motion.s - self.extent, self.motion.s + self.extent
        base = np.array([course.world(s, self.motion.d)[[0, 2]] for s in (near, far)])
        shift = (self.height + 0.3 * self.roof) * np.array(light.shadow_shift)
        return [np.array([base[0], base[1], base[1] + shift, base[0] + shift])]


@dataclass
class Fence(Element):
    """A straight piece of fence, railing or hedge along the street.

    Attributes:
        kind: "boards", "railing" or "hedge" (which is a Tree, as plants are).
        spacing: metres between the bars of a railing.
    """

    motion: Motion
    extent: float
    kind: str
    height: float
    color: tuple[float, float, float]
    spacing: float
    seed: int
    _textures: dict = field(default_factory=dict, repr=False)

    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        near, far = self.motion.s - self.extent, self.motion.s + self.extent
        eye = canvas.camera.position
        gap = max(abs(self.motion.d - (eye[0] - course.center(eye[2]))) * 1.3, near - eye[2], 1.0)
        scale = next((level for level in _LEVELS[1:] if level >= canvas.camera.focal / gap), _LEVELS[-1])
        if scale not in self._textures:
            normal = (-float(np.sign(self.motion.d)), 0.0, 0.0)
            self._textures[scale] = self._paint(canvas.light.shade(self.color, normal), 2 * self.extent, scale)
        texture, alpha = self._textures[scale]
        corner = course.world(near, self.motion.d, 0.1)
        along = course.world(far, self.motion.d, 0.1) - corner
        class_id = TREE if self.kind == "hedge" else FENCE
        canvas.textured(corner, along, (0, self.height, 0), texture, class_id, alpha)

    def _paint(self, color: Color | np.ndarray, length: float, scale: int) -> tuple[np.ndarray, np.ndarray | None]:
        if self.kind == "hedge":
            return hedge(color, length, self.height, self.seed % NOISE_SIZE, scale), None
        if self.kind == "boards":
            return boards(color, length, self.height, self.seed, scale), None
        return railing(color, length, self.height, self.spacing, scale)

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        if self.kind == "railing" or light.sun[0] * self.motion.d <= 0:
            return []
        ends = (self.motion.s - self.extent, self.motion.s + self.extent)
        base = np.array([course.world(s, self.motion.d)[[0, 2]] for s in ends])
        shift = self.height * np.array(light.shadow_shift)
        return [np.array([base[0], base[1], base[1] + shift, base[0] + shift])]
