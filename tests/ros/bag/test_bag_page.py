"""``report.html``: complete, valid and self-contained, with the worst frames."""

import base64
import csv
import re
import shutil
import warnings
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import browser
import cv2
import numpy as np
import pytest
from bag_cases import SIZE, run_cli, samples, write

from lsabinet_core.inference import Segmentation, Timings
from lsabinet_core.inference.overlay import colorize
from lsabinet_core.labels import CAMVID
from lsabinet_ros.bag import worst_frames
from lsabinet_ros.bag.fleet import BagResult
from lsabinet_ros.bag.frame_results import FrameResult
from lsabinet_ros.bag.gate import Limit, judge
from lsabinet_ros.bag.merged_report import merge, merged_markdown
from lsabinet_ros.bag.page import HEIGHT, MAX_POINTS, WIDTH, _thinned, write_merged_page
from lsabinet_ros.bag.samples import BagSample
from lsabinet_ros.bag.worst_frames import WorstFrames, draw_difference

# Elements without an end tag (HTML Living Standard, 13.1.2), and SVG ones that the page closes at once.
VOID_ELEMENTS = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects what the tests look at, and asserts that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.sources, self.headings = [], [], [], [], [], []
        self.text = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.note(tag, dict(attributes))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.note(tag, dict(attributes))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def note(self, tag, attributes):
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if "href" in attributes:
            self.links.append(attributes["href"])
        if "src" in attributes:
            self.sources.append(attributes["src"])
        if tag == "img":
            self.images.append(attributes)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


@pytest.fixture(scope="module")
def report(tmp_path_factory, weights):
    """The folder of a report with everything that can be measured."""
    folder = tmp_path_factory.mktemp("page")
    path = write(folder / "<drive>.mcap", samples(9, labelled=lambda index: index % 2 == 0))
    gate = folder / "gate.yaml"
    gate.write_text("miou.min: 99\nlatency.p99.max: 1000000\n")
    spans = folder / "spans.yaml"
    spans.write_text("- {name: night, from: 0, to: 0.1}\n- {name: nothing, from: 60, to: 90}\n")
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", folder / "out")
    metrics = ("--boundary", "--calibration", "--temporal", "--against", "precision=fp32", "--spans", spans)
    assert run_cli("evaluate", path, *options, *metrics, "--gate", gate) == 4
    return folder / "out"


@pytest.fixture(scope="module")
def page(report):
    return (report / "report.html").read_text()


def test_the_page_is_well_formed_and_needs_no_other_file(page):
    found = Page(page)
    assert len(found.ids) == len(set(found.ids))
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)
    assert all(link.startswith("#") for link in found.links)
    assert all(source.startswith("data:image/jpeg;base64,") for source in found.sources)
    assert not re.search(r"(?:src|href)=.https?:|@import|url\(|<script", page)
    assert all(image["alt"] for image in found.images)
    # Headings skip no level: screen readers navigate by them.
    assert found.headings[0] == 1
    assert all(after - before <= 1 for before, after in zip(found.headings, found.headings[1:]))
    assert "&lt;drive&gt;.mcap" in page


def test_a_browser_shows_it_on_a_desk_and_on_a_phone(page, tmp_path):
    images, circles = len(Page(page).images), page.count("<circle")
    # The links to the pictures of the worst frames can be reached, and lead there.
    assert circles == len(re.findall(r'<a href="#frame-\d+" aria-label=', page)) > 20
    program = browser.chromium()
    if program is None:
        warnings.warn("no Chromium is installed: the page was parsed, but not opened", stacklevel=1)
        return
    found = browser.measure(program, page, tmp_path)
    for figures, width in zip(found, browser.WIDTHS, strict=True):
        assert width - 20 <= figures["width"] <= width
        assert (figures["images"], figures["marks"], figures["plots"]) == (images, circles, page.count("<svg"))
        assert figures["too_wide"] == figures["broken_images"] == figures["unreachable_by_keyboard"] == 0
        assert abs(figures["target_of_first_mark"]) < 20


def test_the_page_shows_every_part(page):
    found = Page(page)
    text = " ".join(" ".join(found.text).split())
    parts = ("summary", "gate", "sources", "time", "spans", "classes", "calibration", "agreement", "latency", "worst")
    assert {*parts, "origin"} <= set(found.ids)
    plots = ("miou", "flicker", "consistency", "confidence", "agreement", "latency", "memory")
    plots += ("preprocess", "inference", "postprocess")
    assert {f"plot-{name}" for name in plots} <= set(found.ids)
    assert "The gate failed." in text
    assert all(name in text for name in CAMVID.names)
    assert page.count("<polyline") == len(plots) + 1  # and the diagonal of the reliability plot
    assert re.findall(r"<polygon.*?<title>(.*?)</title>", page) == list(CAMVID.names)
    assert "miou.min" in text


def test_areas_are_the_shares_of_the_classes(page, report):
    """Area of a polygon by its corners, over that of the plot."""
    shares = []
    for outline in re.findall(r'<polygon points="(.*?)"', page):
        x, y = np.array([point.split(",") for point in outline.split()], float).T
        shares.append(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 / (WIDTH * HEIGHT))
    with open(report / "frames.csv", newline="") as stream:
        rows = np.array([[float(row[f"share_{name}"]) for name in CAMVID.names] for row in csv.DictReader(stream)])
    # Between two frames, the edge of an area is a straight line.
    np.testing.assert_allclose(shares, ((rows[1:] + rows[:-1]) / 2).mean(axis=0), atol=1e-3)


def test_times_below_the_plots(page):
    ticks = re.search(r'<div class="ticks" aria-hidden="true">(.*?)</div>', page)[1]
    # Nine frames at 30 Hz.
    assert re.findall(r"<span>(.*?)</span>", ticks) == ["0.0 s", "0.1 s", "0.1 s", "0.2 s", "0.3 s"]
    assert "Vertical lines" not in page


def test_the_pictures_can_be_decoded(page):
    found = Page(page)
    kinds = [image["alt"].partition(" at ")[0] for image in found.images]
    assert {"frame", "overlay", "mask", "label", "difference", "second mask", "disagreement"} == set(kinds)
    for source in found.sources:
        data = base64.b64decode(source.split(",", 1)[1], validate=True)
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (*SIZE, 3)
    # Each of the worst frames has its pictures once.
    assert kinds.count("frame") == kinds.count("overlay") == kinds.count("second mask") <= 9
    assert kinds.count("label") == kinds.count("difference") == 5


def test_without_labels_or_confidence(tmp_path, weights):
    path = write(tmp_path / "drive.mcap", samples(2, labelled=lambda index: False))
    assert run_cli("evaluate", path, "--weights", weights, "--backend", "torch", "--out", tmp_path / "out") == 0
    text = (tmp_path / "out" / "report.html").read_text()
    found = Page(text)
    assert not {"gate", "calibration", "spans", "agreement", "plot-miou", "plot-confidence"} & set(found.ids)
    assert "plot-flicker" in found.ids
    assert "Confusion matrix" not in text


def test_several_bags_are_told_apart(tmp_path, weights):
    paths = [write(tmp_path / f"{day}.mcap", samples(2)) for day in ("monday", "tuesday")]
    assert run_cli("evaluate", *paths, "--weights", weights, "--backend", "torch", "--out", tmp_path / "out") == 0
    text = (tmp_path / "out" / "report.html").read_text()
    assert "monday.mcap /camera/image_raw, tuesday.mcap /camera/image_raw" in text
    # At the third of the four frames.
    assert f"M{WIDTH * 2 / 3:.1f},0V{HEIGHT}" in text
    assert len(re.findall(r"tuesday\.mcap /camera/image_raw at 0\.00 s</h3>", text)) == 1


@pytest.fixture
def merged(report, tmp_path):
    """The page of the merged report on one bag that could be evaluated and one that could not."""
    shutil.copytree(report, tmp_path / "bags" / "drive #1")
    results = [
        BagResult(Path("drives/<drive #1>.mcap"), tmp_path / "bags" / "drive #1", 0),
        BagResult(Path("drives/broken.mcap"), tmp_path / "bags" / "broken", 1, "it is <empty>"),
    ]
    content = merge(results, ["lsabinet", "bag", "evaluate"], 2.0)
    verdicts = judge([Limit("miou", "min", 99.0)], content, None)
    write_merged_page(tmp_path / "report.html", content, verdicts)
    return tmp_path, content


def test_the_page_of_many_bags_leads_to_those_of_the_bags(merged):
    folder, content = merged
    text = (folder / "report.html").read_text()
    found = Page(text)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    (link,) = {link for link in found.links if not link.startswith("#")}
    assert (folder / unquote(link)).samefile(folder / "bags" / "drive #1" / "report.html")
    assert ">drives/&lt;drive #1&gt;.mcap</a>" in text
    assert "it is &lt;empty&gt;" in text
    shown = " ".join(" ".join(found.text).split())
    assert "1 of 2 bags could not be evaluated." in shown
    assert "The gate failed." in shown
    assert all(name in shown for name in CAMVID.names)
    assert f"{100 * content['confusion_normalised'][3][3]:.1f}" in shown
    assert {"summary", "gate", "bags", "spans", "classes", "calibration", "agreement", "latency"} <= set(found.ids)
    assert not {"time", "worst"} & set(found.ids)
    assert link in merged_markdown(content)


class Drawer:
    """Stands in for the segmenter."""

    label_set = CAMVID

    def __init__(self):
        self.drawn = 0

    def overlay(self, frame, mask):
        self.drawn += 1
        return frame


def test_the_worst_frames_are_kept_and_only_those_are_drawn():
    values = np.random.default_rng(0).permutation(200) / 200
    drawer = Drawer()
    worst = WorstFrames(drawer, count=3)
    image = np.zeros((4, 4, 3), np.uint8)
    for index, value in enumerate(values):
        sample = BagSample(image, None, str(index), None, index, index, None)
        mask = np.zeros((4, 4), np.uint8)
        frame = FrameResult(
            None, index, index, None, value, None, np.zeros(11), 0.0, None, None, Timings(0.0, 1.0, 0.0)
        )
        worst.add(sample, Segmentation(mask, None, frame.timings), frame)
    found = worst.by_criterion()
    assert [pictures.frame.miou for pictures in found["miou"]] == [0, 0.005, 0.01]
    assert [pictures.frame.stamp_ns for pictures in found["flicker"]] == [0, 1, 2]
    assert "confidence" not in found
    assert drawer.drawn < 40


def test_the_difference_shows_wrong_and_unlabelled_pixels():
    image = np.full((1, 4, 3), 100, np.uint8)
    shown = draw_difference(image, np.array([[0, 1, 2, 3]], np.uint8), np.array([[0, 2, 2, 255]], np.uint8))
    assert (shown[0, [0, 2]] == 100).all()
    assert shown[0, 1, 2] > 200 > shown[0, 1, 0]
    assert (shown[0, 3] == 0).all()


def test_large_pictures_are_reduced():
    decoded = cv2.imdecode(np.frombuffer(worst_frames._jpeg(np.zeros((720, 1280, 3), np.uint8)), np.uint8), 1)
    assert decoded.shape == (360, 640, 3)


def test_legend():
    colours = dict(worst_frames.legend(CAMVID))
    blue, green, red = colorize(np.full((1, 1), 3, np.uint8), CAMVID)[0, 0].tolist()
    assert colours["Road"] == f"#{red:02x}{green:02x}{blue:02x}"


def test_long_lines_keep_their_peaks():
    points = [(index, float(index % 7)) for index in range(10_000)]
    points[4321] = (4321, 99.0)
    points[1234] = (1234, -9.0)
    thinned = _thinned(points)
    assert len(thinned) <= MAX_POINTS
    assert thinned == sorted(thinned)
    assert {(4321, 99.0), (1234, -9.0)} <= set(thinned)
