"""cuDNN's flags while frames and builds run in separate threads."""

import threading

import pytest
import torch

from lsabinet_core.inference.backends.cudnn_flags import plain_float32


@pytest.fixture
def flags():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32 = False, True
    yield lambda: (cudnn.benchmark, cudnn.allow_tf32)
    cudnn.benchmark, cudnn.allow_tf32 = before


def test_flags_are_restored(flags):
    with plain_float32():
        assert flags() == (True, False)
    assert flags() == (False, True)
    with pytest.raises(ZeroDivisionError), plain_float32(search=False):
        assert flags() == (False, False)
        raise ZeroDivisionError
    assert flags() == (False, True)


def test_frames_do_not_stop_the_search_of_a_build(flags):
    with plain_float32():
        for _ in range(2):
            with plain_float32(search=False):
                assert flags() == (True, False)
            assert flags() == (True, False)
    with plain_float32(search=False):
        with plain_float32():
            assert flags() == (True, False)
        assert flags() == (False, False)


def test_last_context_restores_the_flags(flags):
    inside, leave = threading.Event(), threading.Event()

    def build():
        with plain_float32():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=build)
    with plain_float32():
        thread.start()
        assert inside.wait(10)
    # The build is still inside the context.
    assert flags() == (True, False)
    leave.set()
    thread.join()
    assert flags() == (False, True)
