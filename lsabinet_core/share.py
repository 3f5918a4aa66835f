"""Location of the files installed with the code: weights/, config/ and launch/."""

from functools import lru_cache
from pathlib import Path

PACKAGE = "lsabinet_ros"


@lru_cache(maxsize=1)
def share_directory() -> Path:
    """Return the folder that contains ``weights/``, ``config/`` and ``launch/``.

    It is the root of the checkout when the code runs from one, and ``<prefix>/share/lsabinet_ros`` after
    ``pip install`` or ``colcon build``. Both have the same layout.

    Raises:
        FileNotFoundError: neither exists; the installation is broken.
    """
    here = Path(__file__).resolve()
    checkout = here.parents[1]
    if (checkout / "package.xml").is_file() and (checkout / "weights").is_dir():
        return checkout
    for parent in here.parents:
        installed = parent / "share" / PACKAGE
        if installed.is_dir():
            return installed
    raise FileNotFoundError(f"no share/{PACKAGE} above {here}: install the package again with `pip install .`")
