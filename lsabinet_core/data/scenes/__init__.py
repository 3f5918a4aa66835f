"""Street scenes rendered from random three-dimensional geometry, with exact labels.

A scene is a triangle mesh with one material and one class per triangle, a top-down map of the ground, a light and a
camera; `render.render_scene` turns a seed into an image and its label. The rasteriser and the shader are compiled by
Numba (the extra `render`). The simpler painter in `lsabinet_core.data.street` needs only OpenCV and serves the demo and
the tests.

World axes, in metres: x to the right of the road's heading at the camera, y up (0 is the road surface), z ahead.
Colours are linear RGB reflectances 0..1 until the sensor model converts them to 8-bit BGR.
"""

import importlib.util

from lsabinet_core.errors import DatasetError


def require_renderer() -> None:
    """Raise DatasetError with installation instructions if Numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        raise DatasetError(
            "rendering scenes needs the package numba, which is not installed: pip install 'lsabinet_ros[render]'"
        )
