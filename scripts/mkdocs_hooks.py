"""Adds files from outside docs/ to the site: the README as the home page, the model cards and the configuration.

Links in the documents are written for the repository and are rewritten here for the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]

PAGES = {"README.md": "index.md", "LICENSE": "LICENSE.txt"}
"""Files whose name in the site differs from that in the repository."""

LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files, config):
    for path in _mounted():
        files.append(File.generated(config, PAGES.get(path, path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    uri = page.file.src_uri
    origins = {PAGES.get(path, path): path for path in _mounted()}
    folder = posixpath.dirname(origins.get(uri, f"docs/{uri}"))

    def rewrite(match: re.Match) -> str:
        before, link, anchor, after = match.groups()
        if ":" in link:
            return match[0]
        target = posixpath.normpath(posixpath.join(folder, link))
        place = target.removeprefix("docs/") if target.startswith("docs/") else PAGES.get(target, target)
        if files.get_file_from_path(place) is None:
            raise PluginError(f"{uri}: the link {link!r} has no target in the site")
        return f"{before}{posixpath.relpath(place, posixpath.dirname(uri) or '.')}{anchor or ''}{after}"

    return LINK.sub(rewrite, markdown)


def _mounted() -> list[str]:
    patterns = ("*.md", "LICENSE", "weights/*.md", "config/*.*", "config/recipes/*.yaml")
    return sorted(path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern))
