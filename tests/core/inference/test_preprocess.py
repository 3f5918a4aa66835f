"""Default sizes of the network's input for frames of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsabinet_core.errors import FrameError
from lsabinet_core.inference.preprocess import SIZE_MULTIPLE, network_size
from lsabinet_core.models.limits import SMALLEST_INPUT

sizes = st.tuples(st.integers(64, 4096), st.integers(64, 4096))


@given(sizes, sizes)
def test_sizes_are_supported_by_the_networks(frame, trained):
    for side in network_size(frame, trained):
        assert side % SIZE_MULTIPLE == 0
        assert side >= SMALLEST_INPUT


@given(sizes, sizes)
def test_sizes_have_the_trained_pixel_count_and_the_aspect_ratio_of_the_frame(frame, trained):
    area, aspect = trained[0] * trained[1], frame[1] / frame[0]
    height, width = network_size(frame, trained)
    for side, wanted in ((height, (area / aspect) ** 0.5), (width, (area * aspect) ** 0.5)):
        assert abs(side - max(wanted, SMALLEST_INPUT)) <= SIZE_MULTIPLE / 2 + 1e-6


@given(sizes, sizes, st.integers(2, 5))
def test_size_depends_on_the_aspect_ratio_only(frame, trained, factor):
    height, width = network_size(frame, trained)
    assert network_size((factor * frame[0], factor * frame[1]), trained) == (height, width)
    assert network_size(frame, trained[::-1]) == (height, width)


@pytest.mark.parametrize("frame", [(0, 5), (5, 0), (-1, 5)])
def test_a_frame_without_pixels_has_no_network_size(frame):
    with pytest.raises(FrameError, match=f"at least 1x1, got {frame[0]}x{frame[1]}"):
        network_size(frame, (360, 480))
