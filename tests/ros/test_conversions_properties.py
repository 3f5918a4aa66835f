"""Any encoding, step and byte order against a reader of single values."""

import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from lsabinet_core.errors import FrameError
from lsabinet_ros.conversions import ENCODINGS, image_to_array

# Which of a pixel's values are blue, green and red.
PACKED = {
    **{f"{name}{bits}": order for name, order in (("bgr", (0, 1, 2)), ("rgb", (2, 1, 0))) for bits in (8, 16)},
    **{f"{name}a{bits}": order for name, order in (("bgr", (0, 1, 2)), ("rgb", (2, 1, 0))) for bits in (8, 16)},
    **{f"mono{bits}": (0, 0, 0) for bits in (8, 16)},
    **{"8UC1": (0, 0, 0), "8UC3": (0, 1, 2), "8UC4": (0, 1, 2)},
}


@st.composite
def layouts(draw, encodings) -> tuple[Image, np.ndarray]:
    """A message of random content, and its values as (rows, W, channels) without padding, colour planes at the end."""
    name = draw(st.sampled_from(sorted(encodings)))
    encoding = ENCODINGS[name]
    # Even, as some encodings need it.
    height, width = 2 * draw(st.integers(1, 6)), 2 * draw(st.integers(1, 7))
    size = encoding.bits // 8
    row_bytes = width * encoding.channels * size
    step = row_bytes + 2 * draw(st.integers(0, 5)) + (draw(st.integers(0, 1)) if name != "i420" else 0)
    # (rows, bytes of a row, step) of each plane.
    planes = [(height, row_bytes, step)] + {
        "nv12": [(height // 2, width, step)],
        "nv21": [(height // 2, width, step)],
        "i420": 2 * [(height // 2, width // 2, step // 2)],
        "nv24": [(height, 2 * width, 2 * step)],
    }.get(name, [])
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    contents = [random.bytes(rows * plane_step) for rows, _, plane_step in planes]
    big_endian = draw(st.booleans())
    order = "big" if big_endian else "little"
    values = [
        int.from_bytes(content[row * plane_step + at : row * plane_step + at + size], order)
        for content, (rows, length, plane_step) in zip(contents, planes, strict=True)
        for row in range(rows)
        for at in range(0, length, size)
    ]
    content = b"".join(contents)
    # Some drivers omit the padding of the last row.
    content = content[: len(content) - (planes[-1][2] - planes[-1][1]) * draw(st.booleans())]
    message = Image(height=height, width=width, encoding=name, step=step, is_bigendian=int(big_endian))
    message.data = array.array("B", content)
    return message, np.array(values).reshape(-1, width, encoding.channels)


def packed(message: Image, values: np.ndarray) -> Image:
    """The same image without padding, in little-endian order."""
    content = values.astype("<u2" if ENCODINGS[message.encoding].bits == 16 else np.uint8).tobytes()
    plain = Image(height=message.height, width=message.width, encoding=message.encoding)
    plain.step, plain.data = values[0].size * ENCODINGS[message.encoding].bits // 8, array.array("B", content)
    return plain


@given(layouts(PACKED))
def test_every_value_is_where_step_and_byte_order_put_it(layout):
    message, values = layout
    if ENCODINGS[message.encoding].bits == 16:
        values = np.rint(values * 255 / 65535)
    frame = image_to_array(message)
    np.testing.assert_array_equal(frame, values[..., list(PACKED[message.encoding])])
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous


@given(layouts(ENCODINGS))
def test_padding_and_byte_order_change_no_pixel(layout):
    message, values = layout
    frame = image_to_array(message)
    assert frame.shape == (message.height, message.width, 3)
    np.testing.assert_array_equal(frame, image_to_array(packed(message, values)))


@given(layouts(ENCODINGS), st.integers(1, 40))
def test_data_that_is_too_short_is_rejected(layout, missing):
    message, values = layout
    plain = packed(message, values)
    plain.data = plain.data[: max(0, len(plain.data) - missing)]
    with pytest.raises(FrameError):
        image_to_array(plain)
