"""Sun, sky and haze of a scene, and the properties of the camera sensor."""

from dataclasses import dataclass

import numpy as np

Color = tuple[float, float, float]
"""BGR, 0..255."""


@dataclass(frozen=True)
class Light:
    """Light of one scene. Colours are BGR, 0..255.

    Attributes:
        sun: unit vector towards the sun (y > 0).
        ambient, diffuse: shares of a surface's own colour in the shade, and added when it faces the sun.
        zenith, skyline: colours of the sky overhead and at the horizon.
        cloud: colour of the clouds; cover: 0 (clear) .. 1 (overcast).
        haze_m: distance in metres after which 63 % of a colour is haze.
        gain: factors on B, G, R (exposure and colour temperature).
        gamma: exponent on the finished image.
        noise: standard deviation of the sensor's noise, grey levels.
        blur: sigma of the lens blur, pixels at a width of 480.
        vignette: loss of light in the corners, 0..1.
    """

    sun: tuple[float, float, float]
    ambient: float
    diffuse: float
    zenith: Color
    skyline: Color
    cloud: Color
    cover: float
    haze_m: float
    gain: tuple[float, float, float]
    gamma: float
    noise: float
    blur: float
    vignette: float

    def shade(self, color: Color | np.ndarray, normal: Color | np.ndarray) -> np.ndarray:
        """BGR of a matt surface of this colour and world normal."""
        return np.asarray(color) * (self.ambient + self.diffuse * max(0.0, float(np.dot(self.sun, normal))))

    @property
    def shadow(self) -> float:
        """Factor on ground that the sun does not reach."""
        return self.ambient / (self.ambient + self.diffuse * self.sun[1])

    @property
    def shadow_shift(self) -> tuple[float, float]:
        """Ground displacement (x, z) of the shadow of a point one metre up."""
        return -self.sun[0] / self.sun[1], -self.sun[2] / self.sun[1]


def neutral(value: float) -> Color:
    """The grey of that value."""
    return value, value, value


def random_light(rng: np.random.Generator) -> Light:
    """Clear, cloudy or overcast daylight."""
    weather = rng.choice(3, p=(0.4, 0.35, 0.25))
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.deg2rad(rng.uniform(28, 65))
    sun = (np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    diffuse = (rng.uniform(0.45, 0.65), rng.uniform(0.25, 0.5), rng.uniform(0.0, 0.12))[weather]
    ambient = (rng.uniform(0.5, 0.65), rng.uniform(0.55, 0.7), rng.uniform(0.75, 0.9))[weather]
    if weather == 2:
        grey = rng.uniform(165, 225)
        zenith = np.array([grey + 8, grey, grey - 4]) * rng.uniform(0.85, 1.0)
        skyline = np.array([grey + 10, grey + 8, grey + 6])
    else:
        zenith = np.array([rng.uniform(170, 225), rng.uniform(120, 160), rng.uniform(60, 115)])
        skyline = np.array([rng.uniform(220, 245), rng.uniform(205, 230), rng.uniform(180, 225)])
    warmth = rng.uniform(-0.09, 0.09)
    exposure = rng.uniform(0.82, 1.15)
    return Light(
        sun=(float(sun[0]), float(sun[1]), float(sun[2])),
        ambient=float(ambient),
        diffuse=float(diffuse),
        zenith=tuple(zenith),
        skyline=tuple(skyline),
        cloud=neutral(rng.uniform(225, 245)),
        cover=float((rng.uniform(0.0, 0.3), rng.uniform(0.3, 0.7), rng.uniform(0.6, 1.0))[weather]),
        haze_m=float(rng.uniform(150, 500)),
        gain=(exposure * (1 - warmth), exposure, exposure * (1 + warmth)),
        gamma=float(rng.uniform(0.85, 1.15)),
        noise=float(rng.uniform(1.0, 5.0)),
        blur=float(rng.uniform(0.35, 0.8)),
        vignette=float(rng.uniform(0.0, 0.3)),
    )
