"""Worker processes: their use of shared memory, and the errors that their failures cause."""

import multiprocessing
import os
import resource
import signal

import numpy as np
import pytest
import torch
from staged_run import CPU, Stage, check_checkpoint, once
from torch.utils.data import Dataset

from lsabinet_core.data.sample import Sample
from lsabinet_core.errors import LsabinetError, TrainingError
from lsabinet_core.training import workers
from lsabinet_core.training.batches import AugmentedViews
from lsabinet_core.training.checkpoint import load_checkpoint
from lsabinet_core.training.samples import SampleCache
from lsabinet_core.training.workers import HELD, MAX_AHEAD, fit_shared_memory, load

MAIN = os.getpid()
MB = 1_000_000


@pytest.mark.parametrize(
    ("asked", "free", "processes", "expected"),
    [
        # Each batch is 10 MB; shared memory holds workers x ahead + 2 of them.
        (2, 100, 1, (2, 4)),
        (2, 99, 1, (2, 3)),
        (2, 40, 1, (2, 1)),
        (2, 39, 1, (1, 1)),
        (1, 60, 1, (1, 4)),
        (1, 30, 1, (1, 1)),
        (1, 29, 1, (0, 1)),
        (16, 64, 1, (4, 1)),
        (0, 0, 1, (0, 4)),
        (2, 199, 2, (2, 3)),
        (3, None, 1, (3, 4)),
    ],
)
def test_workers_are_reduced_to_fit_shared_memory(monkeypatch, asked, free, processes, expected):
    assert (MAX_AHEAD, HELD) == (4, 2)
    monkeypatch.setattr(workers, "_free_shared_memory", lambda: None if free is None else free * MB)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    warnings = []
    found = fit_shared_memory(asked, 10 * MB, warnings.append)
    assert found[0] == expected[0]
    assert found[0] == 0 or found[1] == expected[1]
    assert len(warnings) == (found != (asked, MAX_AHEAD))
    assert all("--shm-size" in line and f"--workers {asked}" in line and "\n" not in line for line in warnings)


def test_free_shared_memory_of_the_system(monkeypatch, tmp_path):
    status = os.statvfs(tmp_path)
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path)
    assert 0 < workers._free_shared_memory() <= status.f_blocks * status.f_frsize
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path / "none")
    assert workers._free_shared_memory() is None


def test_run_without_shared_memory_uses_no_workers(small_camvid, tmp_path, monkeypatch, no_pictures):
    monkeypatch.setattr(workers, "_free_shared_memory", lambda: 0)
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=1"])
    assert stage.start(workers=2)["iterations"] == 2
    (warning,) = [event["message"] for event in stage.of("warning") if "--shm-size" in event["message"]]
    assert "0 of 2 workers" in warning


class _Items(Dataset):
    """Batches of 4 KB; before each one the worker runs ``before``."""

    def __init__(self, before=lambda index: None, count=8):
        self.before, self.count = before, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        assert os.getpid() != MAIN
        self.before(index)
        return torch.full((4096,), index, dtype=torch.uint8), torch.zeros(1)


def no_memory(index):
    if index == 5:
        # Simulate a full /dev/shm: no file of more than a byte can be written.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))


class _Unsendable(torch.Tensor):
    def __reduce_ex__(self, protocol):
        raise OSError("cannot be sent")


@pytest.mark.parametrize("count", [1, 2])
def test_worker_without_shared_memory(count):
    got = []
    with pytest.raises(TrainingError, match=r"^[^\n]*shared memory[^\n]*--shm-size[^\n]*--workers 0[^\n]*--resume$"):
        for images, _ in load(_Items(no_memory), range(8), count):
            got.append(int(images[0]))
    assert got == list(range(5))


def test_batch_that_cannot_be_sent(monkeypatch, capfd):
    """Whatever the reason, the training does not wait for the batch."""
    monkeypatch.setattr(workers, "_shared", lambda item: tuple(tensor.as_subclass(_Unsendable) for tensor in item))
    with pytest.raises(TrainingError, match=r"^a worker process died [^\n]*$"):
        list(load(_Items(), range(8), 2))
    assert "cannot send a batch: cannot be sent" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_killed_worker_is_reported(number):
    """The kernel kills processes if memory runs out, or if it cannot provide a page of shared memory."""

    def die(index):
        if index == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(TrainingError, match=r"^a worker process died [^\n]*--shm-size[^\n]*$"):
        list(load(_Items(die), range(8), 2))


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_worker_that_dies_while_sending_a_batch(monkeypatch, error):
    """The connection breaks before PyTorch notices the death."""

    def get(self, timeout=None):
        raise error

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data", get)
    with pytest.raises(TrainingError, match=r"^a worker process died [^\n]*--shm-size[^\n]*$"):
        list(load(_Items(), range(8), 2))


def test_lsabinet_error_of_a_worker_keeps_its_message():
    def fail(index):
        if index == 3:
            raise LsabinetError("expected this, got that: fix it")

    before = set(multiprocessing.active_children())
    with pytest.raises(LsabinetError, match=r"^expected this, got that: fix it$"):
        list(load(_Items(fail), range(8), 1))
    assert set(multiprocessing.active_children()) <= before, "the worker has not ended"


def test_shared_memory_exhausted_during_a_run(small_camvid, tmp_path, monkeypatch):
    """If other programs use up shared memory, the run ends with a one-line error and can be resumed."""
    full = tmp_path / "full"
    view = AugmentedViews.__getitem__

    def get(self, batch):
        if full.exists() and os.getpid() != MAIN:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
        return view(self, batch)

    monkeypatch.setattr(AugmentedViews, "__getitem__", get)
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=9"], at_validation=once(full.touch))
    with pytest.raises(TrainingError, match=r"^[^\n]*--shm-size[^\n]*$"):
        stage.start(workers=1)
    done = load_checkpoint(stage.run.checkpoint, CPU)["iteration"]
    assert 4 <= done < 18
    check_checkpoint(stage.run, done)


class _Slow:
    """A data set that raises an error for one sample, and counts concurrent reads and reads in advance."""

    name, split, licence, label_set = "slow", "train", "none", (0, 1)

    def __init__(self, bad=None):
        self.bad, self.read = bad, 0

    def __len__(self):
        return 200

    def sample(self, index):
        assert os.getpid() == MAIN
        if index == self.bad:
            raise LsabinetError(f"sample {index} cannot be read")
        self.read += 1
        return Sample(np.full((4, 6, 3), index, np.uint8), np.ones((4, 6), np.uint8), str(index))


def test_samples_are_read_in_order_with_bounded_read_ahead():
    dataset, ahead = _Slow(), []
    cache = SampleCache(dataset, lambda done, total: ahead.append(dataset.read - done))
    assert len(cache) == 200
    assert cache.pixels.tolist() == [0, 200 * 24]
    assert [int(cache.sample(index).image[0, 0, 0]) for index in range(200)] == list(range(200))
    assert max(ahead) <= 8 * 3


def test_unreadable_sample():
    with pytest.raises(LsabinetError, match=r"^sample 150 cannot be read$"):
        SampleCache(_Slow(bad=150))


def test_workers_forked_after_segmentation(random_weights, noise_image):
    """Workers may be forked after the engines' threads have run, because they do not use these threads."""
    from lsabinet_core.inference import Segmenter

    for backend in ("torch", "openvino"):
        with Segmenter.from_pretrained(random_weights, device="cpu", backend=backend) as segmenter:
            segmenter.segment(noise_image(0, (96, 128)))
            assert len(list(load(_Items(), range(8), 2))) == 8
