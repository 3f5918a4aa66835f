"""cuDNN's flags while frames and builders run in threads of their own."""

import threading

import pytest
import torch

from lsabinet_core.inference.backends.common import plain_float32


@pytest.fixture
def flags():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32 = False, True
    yield lambda: (cudnn.benchmark, cudnn.allow_tf32)
    cudnn.benchmark, cudnn.allow_tf32 = before


def test_set_within_and_put_back(flags):
    with plain_float32():
        assert flags() == (True, False)
    assert flags() == (False, True)
    with pytest.raises(ZeroDivisionError), plain_float32(search=False):
        assert flags() == (False, False)
        raise ZeroDivisionError
    assert flags() == (False, True)


def test_a_builder_goes_on_searching_beside_frames(flags):
    with plain_float32():
        for _ in range(2):
            with plain_float32(search=False):
                assert flags() == (True, False)
            assert flags() == (True, False)
    with plain_float32(search=False):
        with plain_float32():
            assert flags() == (True, False)
        assert flags() == (False, False)


def test_the_last_to_go_puts_them_back(flags):
    inside, leave = threading.Event(), threading.Event()

    def build():
        with plain_float32():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=build)
    with plain_float32():
        thread.start()
        assert inside.wait(10)
    # The builder is within still.
    assert flags() == (True, False)
    leave.set()
    thread.join()
    assert flags() == (False, True)
