"""A forked copy of a process that has run a network is rejected at once instead of hanging."""

import json
import os
import subprocess
import sys

import pytest

from lsabinet_core.inference import Segmenter

PROGRAM = """
import json, multiprocessing as mp, os, sys
import numpy as np
from lsabinet_core.errors import BackendError
from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.backends import create_backend

FRAME = np.zeros((96, 128, 3), np.uint8)
WEIGHTS, BACKEND, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])


def make():
    return Segmenter.from_pretrained(WEIGHTS, device="cpu", backend=BACKEND, threads=THREADS)


def make_and_segment():
    with make() as segmenter:
        return list(segmenter.segment(FRAME).mask.shape)


def result_or_error(work):
    try:
        return work()
    except BackendError as error:
        return f"BackendError: {error}"


def answer(queue, work):
    queue.put(result_or_error(work))


def in_child(method, work):
    context = mp.get_context(method)
    queue = context.Queue()
    child = context.Process(target=answer, args=(queue, work))
    child.start()
    try:
        found = queue.get(timeout=60)
        child.join(60)
        return found if child.exitcode == 0 else f"exit status {child.exitcode}"
    except Exception:
        return "hangs" if child.is_alive() else f"died {child.exitcode}"
    finally:
        child.kill()


def close_inherited():
    INHERITED.close()
    with INHERITED:
        return "closed"


def report(**found):
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    # Nothing has run here yet: its children may.
    report(before_use=in_child("fork", make_and_segment))
    INHERITED = make()
    INHERITED.segment(FRAME)
    report(
        inherited=in_child("fork", lambda: INHERITED.segment(FRAME).mask.shape),
        inherited_list=in_child("fork", lambda: INHERITED.segment([FRAME, FRAME])),
        logits=in_child("fork", lambda: INHERITED.logits([FRAME], (96, 128))),
        warm_up=in_child("fork", lambda: INHERITED.warm_up()),
        overlay=in_child("fork", lambda: INHERITED.overlay(FRAME, FRAME[..., 0])),
        made=in_child("fork", make_and_segment),
        backend=in_child("fork", lambda: create_backend(BACKEND, device="cpu").name),
        grandchild=in_child("fork", lambda: in_child("fork", make_and_segment)),
    )
    report(
        closed=in_child("fork", close_inherited),
        spawned=in_child("spawn", make_and_segment),
        forkserver=in_child("forkserver", make_and_segment),
        still_works=list(INHERITED.segment(FRAME).mask.shape),
    )
    INHERITED.close()
    report(made_after_closing=in_child("fork", make_and_segment))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("backend", "threads"), [("torch", 2), ("openvino", 1)])
def test_forked_process_is_rejected(backend, threads, random_weights, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(random_weights), backend, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    before, refused, allowed, after = map(json.loads, done.stdout.splitlines())
    assert before == {"before_use": [96, 128]}
    for name, message in {**refused, **after}.items():
        assert message.startswith("BackendError: "), (name, message)
        assert '"spawn"' in message, (name, message)
        assert "\n" not in message, (name, message)
    assert allowed == {key: [96, 128] for key in ["spawned", "forkserver", "still_works"]} | {"closed": "closed"}


def test_subprocess_of_a_segmenting_process(random_weights, noise_image):
    """A fork followed by exec is not affected."""
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as segmenter:
        segmenter.segment(noise_image(0, (96, 128)))
        code = (
            "import sys, numpy as np; from lsabinet_core.inference import Segmenter; s = "
            "Segmenter.from_pretrained(sys.argv[1], device='cpu', backend='torch'); "
            "print(s.segment(np.zeros((96, 128, 3), np.uint8)).mask.shape)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(random_weights)], capture_output=True, text=True, timeout=120
        )
    assert (done.returncode, done.stdout.strip()) == (0, "(96, 128)"), done.stderr
