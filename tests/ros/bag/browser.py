"""A page in headless Chromium, as wide as on a desk and as on a phone."""

import json
import shutil
import subprocess
from pathlib import Path

WIDTHS = (1280, 390)
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

# Loads the page into frames of the given widths and replaces its own text by what it finds in them.
MEASURE = """<!doctype html><meta charset="utf-8"><title>test</title><body><script>
async function measure(width) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 800; frame.src = "page.html";
  const loaded = new Promise(done => frame.onload = done);
  document.body.append(frame);
  await loaded;
  const inside = frame.contentDocument, window = frame.contentWindow;
  const images = [...inside.images];
  for (const image of images) image.loading = "eager";
  await Promise.all(images.map(image => image.complete || new Promise(done => image.onload = image.onerror = done)));
  const marks = [...inside.querySelectorAll("svg a")], links = [...inside.querySelectorAll("a")];
  const scrolled = [...inside.querySelectorAll(".wide, pre")];
  const reachable = [...links, ...scrolled].filter(element => {
    element.focus(); return inside.activeElement === element; });
  const target = inside.querySelector(marks[0].getAttribute("href"));
  const moved = new Promise(done => window.onhashchange = done);
  marks[0].dispatchEvent(new window.MouseEvent("click", {bubbles: true, cancelable: true}));
  await moved;
  return {
    width: inside.documentElement.clientWidth,
    too_wide: inside.documentElement.scrollWidth - inside.documentElement.clientWidth,
    images: images.length,
    broken_images: images.filter(image => !image.naturalWidth).length,
    marks: marks.length,
    unreachable_by_keyboard: links.length + scrolled.length - reachable.length,
    target_of_first_mark: target.getBoundingClientRect().top,
    plots: [...inside.querySelectorAll("svg")].filter(plot => plot.getBBox().width > 100).length,
  };
}
(async () => {
  const found = [];
  for (const width of %s) found.push(await measure(width));
  return JSON.stringify(found);
})().catch(String).then(text => { document.body.textContent = text; });
</script>"""


def chromium() -> str | None:
    """Path of the browser, if one is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def measure(browser: str, page: str, folder: Path) -> list[dict]:
    """Open a page in each of ``WIDTHS``; ``folder`` is for the browser's files."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    path = folder / "measure.html"
    path.write_text(MEASURE % list(WIDTHS), encoding="utf-8")
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}")
    # The frames are files, which have nothing in common for a browser unless told so.
    options += ("--allow-file-access-from-files", "--virtual-time-budget=20000")
    run = subprocess.run(
        [browser, *options, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    text = run.stdout.partition("<body>")[2].partition("</body>")[0]
    assert text.startswith("["), text[-500:] or run.stderr
    return json.loads(text)
