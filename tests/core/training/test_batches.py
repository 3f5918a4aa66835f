"""Batches contain each sample once per epoch, and do not depend on interruptions, the pipeline or the processes."""

import os
import shutil
import signal

import cv2
import numpy as np
import pytest
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.data.augment import Augmentation
from lsabinet_core.data.camvid import CamVid
from lsabinet_core.data.sample import Sample
from lsabinet_core.errors import DatasetError, TrainingError
from lsabinet_core.labels import CAMVID
from lsabinet_core.training import batches, resident
from lsabinet_core.training import samples as reading
from lsabinet_core.training.batches import EpochShuffle, SampleCache, open_batches
from lsabinet_core.training.recipe import Recipe

PLAIN = Augmentation(crop_size=(64, 64), scales=(0.75, 1.5), brightness=0.2)
EVERYTHING = PLAIN.model_copy(update={"contrast": 0.3, "hue": 10.0})
CPU = torch.device("cpu")
FILL = (120, 110, 100)


@pytest.fixture(scope="module")
def samples(small_camvid):
    return SampleCache(open_dataset("camvid", small_camvid, "train"))


def make(
    samples,
    pipeline="workers",
    augmentation=EVERYTHING,
    start=0,
    workers=0,
    device=CPU,
    input_size=(72, 96),
    **shares,
):
    recipe = Recipe(
        augmentation=augmentation,
        batch_size=4,
        epochs=3,
        seed=4,
        input_pipeline=pipeline,
        input_size=input_size,
    )
    shuffle = EpochShuffle(len(samples), recipe.batch_size, recipe.epochs, recipe.seed, start, **shares)
    return open_batches(samples, recipe, FILL, shuffle, workers=workers, device=device)


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, second)
    )


def test_each_sample_at_most_once_per_epoch():
    shuffle = EpochShuffle(8, 3, epochs=4, seed=1, start=0)
    made = list(shuffle)
    keys = [(batch.epoch, index) for batch in made for index in batch.share]
    assert len(shuffle) == shuffle.total == 8
    assert shuffle.epoch_iterations == 2
    assert len(set(keys)) == len(keys) == 4 * 6
    assert [(batch.epoch, batch.number) for batch in made] == [(e, n) for e in range(4) for n in range(2)]
    assert len({tuple(index for epoch, index in keys if epoch == e) for e in range(4)}) == 4


def test_data_set_smaller_than_a_batch():
    assert [len(batch.share) for batch in EpochShuffle(2, 8, epochs=3, seed=1, start=0)] == [2, 2, 2]


def test_shapes_and_dtypes(samples):
    for pipeline in ("workers", "resident"):
        made = list(make(samples, pipeline))
        assert len(made) == 6
        for images, labels in made:
            assert images.shape == (4, 64, 64, 3)
            assert labels.shape == (4, 64, 64)
            assert images.dtype == labels.dtype == torch.uint8


@pytest.mark.parametrize("pipeline", ["workers", "resident"])
@pytest.mark.parametrize("start", [1, 2, 5])
def test_resumed_run_gets_the_same_batches(samples, pipeline, start):
    assert equal(list(make(samples, pipeline))[start:], list(make(samples, pipeline, start=start)))


def test_workers_make_the_same_batches(samples):
    assert equal(list(make(samples)), list(make(samples, workers=2)))


@pytest.mark.parametrize("input_size", [(72, 96), (100, 140)])
def test_both_pipelines_make_the_same_batches(samples, input_size):
    batches_of_both = (make(samples, pipeline, input_size=input_size) for pipeline in ("workers", "resident"))
    for expected, got in zip(*batches_of_both, strict=True):
        assert torch.equal(expected[1], got[1])
        difference = (expected[0].int() - got[0].int()).abs()
        assert difference.max() <= 3
        assert difference.float().mean() < 0.5


@pytest.mark.parametrize("pipeline", ["workers", "resident"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_shares_of_all_processes_join_to_the_batch(samples, pipeline, world_size):
    whole = list(make(samples, pipeline))
    shares = [list(make(samples, pipeline, rank=rank, world_size=world_size)) for rank in range(world_size)]
    joined = [tuple(torch.cat(parts) for parts in zip(*share)) for share in zip(*shares)]
    if pipeline == "workers":
        assert equal(whole, joined)
    else:
        # A matrix product with another batch size may sum in another order.
        for expected, got in zip(whole, joined):
            assert torch.equal(expected[1], got[1])
            assert (expected[0].int() - got[0].int()).abs().max() <= 1


def test_batch_not_divisible_by_processes():
    with pytest.raises(TrainingError, match=r"batch of 6 .* 4 processes"):
        EpochShuffle(20, 6, epochs=1, seed=1, start=0, rank=0, world_size=4)
    with pytest.raises(TrainingError, match="at least one image for each of 4 processes, got 3"):
        EpochShuffle(3, 8, epochs=1, seed=1, start=0, rank=0, world_size=4)
    assert EpochShuffle(7, 8, epochs=1, seed=1, start=0, rank=0, world_size=2).batch_size == 6


@pytest.mark.parametrize(
    ("pipeline", "device", "free", "expected"),
    [
        ("auto", "cuda", 4.1, "resident"),
        ("auto", "cuda", 3.9, "workers"),
        ("auto", "cpu", 100, "workers"),
        ("workers", "cuda", 100, "workers"),
        ("resident", "cpu", 4.1, "resident"),
    ],
)
def test_choose_pipeline(samples, monkeypatch, pipeline, device, free, expected):
    monkeypatch.setattr(resident, "free_memory", lambda device: free * samples.bytes)
    monkeypatch.setattr(batches, "ResidentBatches", lambda *args: ["resident"])
    monkeypatch.setattr(batches, "load", lambda *args, **options: iter(["workers"]))
    assert next(make(samples, pipeline, device=torch.device(device))) == expected


def test_data_set_too_large_for_resident(samples, monkeypatch):
    monkeypatch.setattr(resident, "free_memory", lambda device: 3.9 * samples.bytes)
    with pytest.raises(TrainingError, match=r"a quarter of the memory of cpu.*set input_pipeline to workers"):
        make(samples, "resident")


def test_resident_rejects_several_image_sizes(small_camvid, tmp_path):
    shutil.copytree(small_camvid, tmp_path / "camvid")
    for folder in ("train", "trainannot"):
        path = str(tmp_path / "camvid" / folder / "5.png")
        cv2.imwrite(path, cv2.imread(path, cv2.IMREAD_UNCHANGED)[:70])
    mixed = SampleCache(open_dataset("camvid", tmp_path / "camvid", "train"))
    with pytest.raises(DatasetError, match=r"one size .* got 72x96 \(0\) and 70x96 \(5\): set input_pipeline"):
        make(mixed, "resident")
    assert len(list(make(mixed, "auto"))) == 6


def test_cache_counts_pixels_and_respects_its_limit(small_camvid, monkeypatch):
    dataset = open_dataset("camvid", small_camvid, "train")
    kept = SampleCache(dataset)
    assert kept.sample(3) is kept.sample(3)
    labels = np.concatenate([dataset.sample(index).label.ravel() for index in range(len(dataset))])
    assert kept.pixels.tolist() == [int((labels == c).sum()) for c in range(11)]
    assert kept.bytes == 8 * 72 * 96 * 4
    assert kept.sizes == {(72, 96): "0"}
    monkeypatch.setattr(reading, "CACHE_BYTES", 5 * dataset.sample(0).image.nbytes)
    part = SampleCache(dataset)
    assert part.sample(0) is part.sample(0)
    assert part.sample(7) is not part.sample(7)
    assert np.array_equal(part.sample(7).image, kept.sample(7).image)


class _Foreign:
    """A third-party data set."""

    name, licence, split, label_set = "foreign", "none", "train", CAMVID

    def __init__(self, *samples):
        self._samples = samples

    def __len__(self):
        return len(self._samples)

    def sample(self, index):
        return self._samples[index]


IMAGE, LABEL = np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), np.uint8)


@pytest.mark.parametrize("wrong", [11, 200, 254])
def test_invalid_label_id_is_named(wrong):
    label = LABEL.copy()
    label[2, 3], label[0, 0] = wrong, 255
    with pytest.raises(DatasetError, match=rf"second: expected label ids 0\.\.10 or 255 .* in foreign, got {wrong}"):
        SampleCache(_Foreign(Sample(IMAGE, LABEL, "first"), Sample(IMAGE, label, "second")))


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (IMAGE, LABEL.astype(np.int64), "expected the label to be a numpy array of uint8, got int64"),
        (IMAGE.astype(np.float32), LABEL, "expected the image to be a numpy array of uint8, got float32"),
        (IMAGE, torch.zeros(6, 8), "expected the label to be a numpy array of uint8, got Tensor"),
        (IMAGE[..., 0], LABEL, r"the image to have the shape \(H, W, 3\), got \(6, 8\)"),
        (np.zeros((6, 8, 4), np.uint8), LABEL, r"the image to have the shape \(H, W, 3\), got \(6, 8, 4\)"),
        (IMAGE, LABEL[..., None], r"the label to have the shape \(H, W\), got \(6, 8, 1\)"),
        (IMAGE, LABEL[:5], r"label of \(5, 8\) for an image of \(6, 8\)"),
        (IMAGE, None, "no label; the train split cannot be trained on"),
    ],
)
def test_malformed_samples_are_rejected(image, label, message):
    with pytest.raises(DatasetError, match=f"^odd: .*{message}"):
        SampleCache(_Foreign(Sample(image, label, "odd")))


def test_samples_do_not_depend_on_threads(small_camvid, monkeypatch):
    dataset = open_dataset("camvid", small_camvid, "train")
    monkeypatch.setattr(reading, "usable_cores", lambda: 3)
    parallel, plain = SampleCache(dataset), [dataset.sample(index) for index in range(len(dataset))]
    for index, expected in enumerate(plain):
        assert parallel.sample(index).name == expected.name
        assert np.array_equal(parallel.sample(index).image, expected.image)
        assert np.array_equal(parallel.sample(index).label, expected.label)


def test_error_in_a_reader_thread_is_one_line(small_camvid, tmp_path, monkeypatch):
    shutil.copytree(small_camvid, tmp_path / "camvid")
    (tmp_path / "camvid" / "train" / "5.png").write_bytes(b"cut")
    monkeypatch.setattr(reading, "usable_cores", lambda: 3)
    with pytest.raises(DatasetError, match=r"^[^\n]*train/5.png: not an image that can be decoded[^\n]*$"):
        SampleCache(open_dataset("camvid", tmp_path / "camvid", "train"))


@pytest.mark.parametrize("workers", [0, 1])
def test_missing_file_is_named(small_camvid, tmp_path, monkeypatch, workers):
    shutil.copytree(small_camvid, tmp_path / "camvid")
    monkeypatch.setattr(reading, "CACHE_BYTES", 0)
    read = SampleCache(open_dataset("camvid", tmp_path / "camvid", "train"))
    shutil.rmtree(tmp_path / "camvid" / "train")
    with pytest.raises(DatasetError, match=r"^[^\n]*camvid/train/\d.png: cannot be read \(No such file[^\n]*$"):
        list(make(read, workers=workers))


class _Deadly:
    """A data set in which reading one sample kills the process, as the kernel does if memory runs out."""

    def __init__(self, samples, index):
        self.pixels, self.sizes, self.bytes = samples.pixels, samples.sizes, samples.bytes
        self._samples, self._index, self._main = samples, index, os.getpid()

    def __len__(self):
        return len(self._samples)

    def sample(self, index):
        if index == self._index and os.getpid() != self._main:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._samples.sample(index)


def test_killed_worker_is_reported(samples):
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(TrainingError, match=r"^a worker process died [^\n]*--resume[^\n]*$"):
        list(make(_Deadly(samples, 5), workers=2))
    assert signal.getsignal(signal.SIGCHLD) == handler


@pytest.mark.parametrize(
    ("workers", "device", "processes", "expected"),
    [
        (None, "cpu", 1, 1),
        (None, "cuda", 1, 11),
        (None, "cuda", 4, 2),
        (None, "cuda", 12, 1),
        (0, "cuda", 1, 0),
        (16, "cpu", 1, 16),
        (10**9, "cpu", 1, 16),
    ],
)
def test_choose_workers(monkeypatch, workers, device, processes, expected):
    monkeypatch.setattr(batches, "usable_cores", lambda: 12)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert batches.choose_workers(workers, torch.device(device)) == expected
    monkeypatch.setattr(batches, "usable_cores", lambda: 100)
    assert batches.choose_workers(None, torch.device("cuda")) <= batches.MAX_WORKERS
    assert batches.choose_workers(10**9, torch.device("cuda")) == 100


@pytest.mark.parametrize(("room", "reads"), [(4, [0, 1, 2, 3]), (2.5, [0, 1, 2, 3, 2, 3])])
def test_kept_samples_are_read_once(small_camvid, monkeypatch, room, reads):
    class Watched(CamVid):
        def sample(self, index):
            read.append(index)
            return super().sample(index)

    read = []
    dataset = Watched(small_camvid, "val")
    first = CamVid(small_camvid, "val").sample(0)
    monkeypatch.setattr(reading, "CACHE_BYTES", room * (first.image.nbytes + first.label.nbytes))
    kept = reading.KeptSamples(dataset)
    assert (len(kept), kept.name, kept.split, kept.label_set) == (4, "camvid", "val", dataset.label_set)
    for _ in range(2):
        for index in range(4):
            assert np.array_equal(kept.sample(index).image, CamVid.sample(dataset, index).image)
    assert read == reads
