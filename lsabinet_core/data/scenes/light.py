"""Random light and weather of a scene, with a wider range than in any single city."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Light:
    """The light of a scene. Colours are linear RGB; the sun at noon is near 1.

    Attributes:
        name: the kind of light. sun: unit vector towards the sun. sun_color, sky_color, bounce_color: irradiance from
            the sun, the sky and the ground. zenith, horizon, cloud_color: radiance of the visible sky.
        cover: cloud cover 0..1. fog_color, fog_m: colour and visual range of the fog. wetness, snow: 0..1.
        lit: 1 if lamps and windows are on. beam: strength of the ego headlights. rain: drops on the lens, 0..1.
    """

    name: str
    sun: np.ndarray
    sun_color: np.ndarray
    sky_color: np.ndarray
    bounce_color: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    cloud_color: np.ndarray
    cover: float
    fog_color: np.ndarray
    fog_m: float
    wetness: float = 0.0
    snow: float = 0.0
    lit: float = 0.0
    beam: float = 0.0
    rain: float = 0.0


KINDS = ("noon", "low sun", "overcast", "dusk", "night", "fog", "rain", "snow")
SHARES = (0.28, 0.22, 0.2, 0.09, 0.08, 0.03, 0.06, 0.04)


def random_light(rng: np.random.Generator, kind: str | None = None) -> Light:
    """Draw the light of a scene: the given kind, or one of `KINDS` with the probabilities `SHARES`."""
    kind = str(rng.choice(KINDS, p=SHARES)) if kind is None else kind
    azimuth = rng.uniform(0, 2 * np.pi)
    low = kind in ("low sun", "dusk")
    elevation = np.deg2rad(rng.uniform(5, 25) if low else rng.uniform(25, 68))
    sun = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    tint = np.exp(rng.normal(0, 0.07, 3))
    blue = np.array([0.32, 0.52, 0.95]) * np.exp(rng.normal(0, 0.12, 3))
    white = np.array([0.95, 0.97, 1.0])
    haze = blue * 0.25 + white * 0.75
    warm = np.array([1.0, 0.78, 0.5]) if low else np.array([1.0, 0.95, 0.86])
    if kind in ("noon", "low sun"):
        strength = rng.uniform(0.7, 1.6) if kind == "noon" else rng.uniform(0.6, 1.5)
        sky = rng.uniform(0.22, 0.6)
        bright = rng.uniform(0.7, 1.8)
        light = Light(
            kind,
            sun,
            warm * strength * tint,
            (0.5 * blue + 0.5 * white) * sky,
            warm * 0.12 * strength,
            blue * bright * rng.uniform(0.35, 1.0),
            haze * bright,
            white * bright * 1.25,
            float(rng.choice([0.0, rng.uniform(0.15, 0.75)])),
            haze * bright * 0.9,
            float(np.exp(rng.uniform(5.4, 8.0))),
        )
        light.wetness = float(rng.uniform(0.2, 1.0)) if rng.random() < 0.08 else 0.0
        light.snow = float(rng.uniform(0.15, 0.5)) if rng.random() < 0.02 else 0.0
        return light
    if kind in ("overcast", "fog", "rain", "snow"):
        grey = np.array([0.94, 0.97, 1.0]) * np.exp(rng.normal(0, 0.05, 3))
        sky = rng.uniform(0.5, 1.1) * (0.75 if kind == "rain" else 1.0)
        seen = grey * sky * rng.uniform(0.9, 2.0)
        light = Light(
            kind,
            sun,
            grey * rng.uniform(0, 0.12),
            grey * sky,
            grey * 0.1,
            seen * rng.uniform(0.6, 1.0),
            seen,
            seen * rng.uniform(0.7, 1.1),
            float(rng.uniform(0.2, 1.0)),
            seen * 0.95,
            float(np.exp(rng.uniform(5.2, 7.5))),
        )
        if kind == "fog":
            light.fog_m = float(np.exp(rng.uniform(3.2, 4.6)))
        if kind == "rain":
            light.wetness, light.rain = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.0, 1.0))
            light.lit = float(rng.random() < 0.3)
        if kind == "snow":
            light.snow = float(rng.uniform(0.25, 1.0))
        if kind == "overcast" and rng.random() < 0.15:
            light.wetness = float(rng.uniform(0.3, 0.9))
        return light
    if kind == "dusk":
        glow = np.array([1.0, rng.uniform(0.6, 0.9), rng.uniform(0.45, 0.9)])
        sky = rng.uniform(0.06, 0.25)
        bright = rng.uniform(0.3, 1.6) * sky * 4
        return Light(
            kind,
            sun,
            warm * rng.uniform(0, 0.15),
            (0.6 * blue + 0.4 * white) * sky,
            white * 0.02,
            (0.7 * blue + 0.3 * white) * bright * 0.5,
            glow * bright,
            (0.4 * glow + 0.3 * white) * bright,
            float(rng.uniform(0, 0.9)),
            glow * bright * 0.6,
            float(np.exp(rng.uniform(5.4, 8.0))),
            wetness=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.2 else 0.0,
            lit=float(rng.random() < 0.6),
            beam=float(rng.uniform(0, 0.3)),
        )
    # At night, light comes from the glow of the town in a dark sky, lamps, windows and headlights.
    glow = np.array([1.0, 0.75, 0.5]) * rng.uniform(0.004, 0.05) + blue * rng.uniform(0, 0.02)
    return Light(
        "night",
        sun,
        np.zeros(3),
        glow * 0.9 + 0.004,
        glow * 0.1,
        glow * rng.uniform(0.15, 0.8),
        glow * rng.uniform(0.6, 1.6),
        glow * 1.2,
        float(rng.uniform(0, 0.8)),
        glow * 0.8,
        float(np.exp(rng.uniform(4.8, 7.0))),
        wetness=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.35 else 0.0,
        rain=float(rng.uniform(0, 0.7)) if rng.random() < 0.15 else 0.0,
        lit=1.0,
        beam=float(rng.uniform(0.1, 0.7)),
    )
