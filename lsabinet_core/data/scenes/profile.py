"""Cross-section of one side of a road, by the kind of place."""

from dataclasses import dataclass

import numpy as np

PLACES = ("high street", "city", "residential", "avenue", "park", "retail", "country")
_SHARES = (0.28, 0.16, 0.23, 0.13, 0.07, 0.07, 0.06)


@dataclass
class Profile:
    """Cross-section of one side of a road. Distances are in metres.

    Attributes:
        verge: width of the grass between kerb and pavement, 0 for none. pavement: its width, 0 for none.
        front: boundary of the plots: "open", "fence", "hedge" or "mixed". setback: from the pavement to the houses.
        houses: share of plots with a building. tall: whether houses have many storeys. trees: trees per 10 m.
        furniture, people: density relative to an ordinary street. parked: share of parking places in use.
    """

    verge: float
    pavement: float
    front: str
    setback: float
    houses: float
    tall: bool
    trees: float
    furniture: float
    people: float
    parked: float


def random_place(rng: np.random.Generator) -> str:
    """Draw one of ``PLACES``."""
    return str(rng.choice(PLACES, p=_SHARES))


def random_profile(rng: np.random.Generator, place: str) -> Profile:
    u = rng.uniform
    if place == "high street":
        return Profile(
            0.0, u(1.8, 5), "open", 0.0, u(0.9, 1), rng.random() < 0.4, u(0, 0.5), u(0.7, 1.6), u(0.3, 2.0), u(0.1, 0.7)
        )
    if place == "city":
        return Profile(
            0.0, u(2.5, 7), "open", u(0, 2), u(0.85, 1), True, u(0, 0.8), u(0.6, 1.6), u(0.2, 2.0), u(0, 0.6)
        )
    if place == "residential":
        return Profile(
            0.0 if rng.random() < 0.6 else u(0.8, 2.5),
            u(1.3, 2.5),
            "mixed",
            u(2, 8),
            u(0.75, 1),
            rng.random() < 0.15,
            u(0.2, 1.2),
            u(0.3, 1.0),
            u(0.05, 0.5),
            u(0.1, 0.9),
        )
    if place == "avenue":
        return Profile(
            u(1, 5),
            u(1.5, 3),
            "mixed",
            u(6, 18),
            u(0.3, 0.9),
            rng.random() < 0.5,
            u(0.6, 2.0),
            u(0.3, 1.0),
            u(0.05, 0.6),
            u(0, 0.4),
        )
    if place == "park":
        return Profile(
            0.0 if rng.random() < 0.5 else u(1, 5),
            u(1.2, 3),
            str(rng.choice(["fence", "hedge", "open"])),
            u(10, 25),
            u(0, 0.25),
            False,
            u(1.0, 2.5),
            u(0.2, 0.8),
            u(0.1, 0.7),
            u(0, 0.4),
        )
    if place == "retail":
        return Profile(
            u(0, 4), u(0, 2.5), "open", u(6, 25), u(0.4, 0.9), False, u(0, 0.6), u(0.4, 1.4), u(0.02, 0.4), u(0, 0.3)
        )
    return Profile(
        u(1, 6),
        0.0,
        str(rng.choice(["open", "hedge", "fence"])),
        u(8, 30),
        u(0, 0.3),
        False,
        u(0.4, 2.5),
        u(0.1, 0.6),
        u(0, 0.05),
        0.0,
    )  # country
