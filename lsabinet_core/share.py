"""Where the files that ship beside the code are: weights/, config/ and launch/."""

from functools import lru_cache
from pathlib import Path

PACKAGE = "lsabinet_ros"


@lru_cache(maxsize=1)
def share_directory() -> Path:
    """The folder that holds ``weights/``, ``config/`` and ``launch/``.

    That is the checkout itself when the code runs from one, and ``<prefix>/share/lsabinet_ros`` after ``pip install``
    or ``colcon build``; both have the same folders inside.

    Raises:
        FileNotFoundError: neither exists, so the installation is broken.
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
