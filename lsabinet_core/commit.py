"""Which commit the running code is."""

import subprocess
from pathlib import Path


def source_state() -> dict:
    """``git_commit`` of the source and ``git_changed``, whether files were changed since then.

    A checkout is asked by git; an installed package has the file ``commit.txt``, which setup.py writes. Both values are
    None where neither tells.
    """
    # An installed package may lie within some other checkout, whose commit says nothing.
    if _git("ls-files", "--error-unmatch", "__init__.py") is None:
        built = Path(__file__).with_name("commit.txt")
        commit, _, dirty = built.read_text(encoding="ascii").strip().partition("-") if built.exists() else ("", "", "")
        return {"git_commit": commit or None, "git_changed": bool(dirty) if commit else None}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": _git("rev-parse", "HEAD"), "git_changed": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
