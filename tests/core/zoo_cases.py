"""Published counts of the networks: parameters for 19 and 11 classes, and GMACs for 19 classes by image size.

GMACs include convolutions, transposed convolutions and matrix products. Parameters in millions are reported in the
papers; the other counts were measured on public implementations.
"""

from dataclasses import dataclass

CAMVID, HALF, FULL = (360, 480), (512, 1024), (1024, 2048)


@dataclass(frozen=True)
class ZooCase:
    name: str
    params_19: int | None
    params_11: int | None
    gmacs: dict[tuple[int, int], float]
    million_params: float | None = None


def _case(name: str, params_19: int, params_11: int, camvid: float, half: float, full: float) -> ZooCase:
    return ZooCase(name, params_19, params_11, {CAMVID: camvid, HALF: half, FULL: full})


ZOO = [
    _case("lsabinet", 1_841_915, 1_840_859, 8.663, 26.30, 105.2),
    _case("segnet", 29_453_971, 29_449_355, 107.08, 325.5, 1302.2),
    _case("enet", 360_422, 358_246, 1.358, 4.121, 16.49),
    _case("sqnet", 16_262_771, 16_248_939, 47.08, 143.9, 575.5),
    _case("espnet", 363_462, 353_437, 1.539, 4.670, 18.68),
    _case("espnetv2", 1_252_538, 1_248_682, 1.875, 5.654, 22.62),
    _case("cgnet", 496_306, 494_258, 2.229, 6.762, 27.05),
    # Counted at a size divisible by all strides, with aligned corner pixels.
    ZooCase("icnet", 6_699_987, 6_698_955, {(361, 481): 2.57, (513, 1025): 7.65, (1025, 2049): 29.81}),
    _case("edanet", 689_485, 685_877, 2.911, 8.833, 35.33),
    _case("lednet", 922_821, 920_725, 3.69, 11.21, 44.83),
    _case("dabnet", 756_643, 754_571, 3.369, 10.22, 40.88),
    _case("esnet", 1_659_071, 1_658_551, 7.928, 24.05, 96.2),
    _case("lcnet", 509_446, 508_918, 2.563, 7.777, 31.11),
    _case("erfnet", 2_064_191, 2_063_671, 8.769, 26.60, 106.4),
    _case("swiftnet", 11_797_071, 11_796_039, 8.664, 25.89, 103.6),
    ZooCase("pidnet_s", None, None, {FULL: 47.2}, million_params=7.63),
    ZooCase("ddrnet23_slim", None, None, {FULL: 36.3}, million_params=5.70),
]
