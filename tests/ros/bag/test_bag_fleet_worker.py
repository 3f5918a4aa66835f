"""The process that evaluates one bag of a fleet: when the fleet is gone, it ends and leaves nothing behind."""

import subprocess
import sys

from lsabinet_ros.bag.fleet_worker import ORPHANED

COMMAND = [sys.executable, "-m", "lsabinet_ros.bag.fleet_worker"]


def test_without_its_fleet_it_ends_and_removes_a_temporary_folder(tmp_path):
    folder = tmp_path / "report"
    (folder / "deeper").mkdir(parents=True)
    (folder / "log.txt").touch()
    # Without a file for the bag, the evaluation would end with an error of its own, much later.
    words = ["bag", "evaluate", str(tmp_path / "none.mcap"), "--out", str(folder)]
    for options in ([], ["--temporary", str(folder)]):
        assert folder.is_dir()
        # Nothing is at the other end of its standard input.
        run = subprocess.run([*COMMAND, *options, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        assert run.returncode == ORPHANED
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_is_that_of_lsabinet():
    for options in ([], ["--temporary", "folder"]):
        with subprocess.Popen(
            [*COMMAND, *options, "bag", "compare", "--help"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as run:
            assert run.stdout is not None
            assert "--max-miou-drop" in run.stdout.read()
            assert run.wait(60) == 0
