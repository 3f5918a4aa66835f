"""The Segmenter against the network in plain PyTorch code."""

import copy
import pickle
import threading

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsabinet_core.cores import usable_cores
from lsabinet_core.errors import BackendError, FrameError, ModelError, WeightsError
from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.device_frames import DeviceFrames
from lsabinet_core.inference.postprocess import masks_from_logits
from lsabinet_core.inference.preprocess import network_size
from lsabinet_core.labels import CITYSCAPES
from lsabinet_core.models.weights import load_weights


@pytest.fixture(scope="module")
def segmenter(random_weights):
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as segmenter:
        yield segmenter


@pytest.fixture(scope="module")
def plain_logits(random_weights):
    """(BGR frame, network size) -> full-size logits (C, H, W) of the network, by plain PyTorch."""
    model, metadata = load_weights(random_weights)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (metadata.mean, metadata.std))

    def run(frame: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        shrinks = size[0] <= frame.shape[0] and size[1] <= frame.shape[1]
        if frame.shape[:2] != size:
            frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        rgb = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            return model.low_resolution_logits((rgb - mean) / std)

    return run


def assert_same_mask(mask: np.ndarray, expected: np.ndarray) -> None:
    """Equal except for pixels where rounding decides between two classes."""
    assert mask.shape == expected.shape
    assert (mask != expected).mean() < 1e-3


def test_native_size_matches_argmax_of_forward(segmenter, random_weights, noise_image):
    model, metadata = load_weights(random_weights)
    frame = noise_image(50, (96, 128))
    rgb = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (metadata.mean, metadata.std))
    with torch.no_grad():
        logits = model((rgb - mean) / std)[0]
    result = segmenter.segment(frame)
    assert_same_mask(result.mask, logits.argmax(0).numpy())
    assert len(np.unique(result.mask)) > 3
    expected = 255 * logits.softmax(0).max(0).values.numpy()
    assert np.abs(result.confidence - expected).max() <= 1
    assert np.abs(result.confidence - expected).mean() < 0.3


# Frames that are reduced, enlarged, of odd size, wide, below the minimum network size, and tall.
@pytest.mark.parametrize("size", [(192, 256), (80, 90), (97, 201), (64, 300), (33, 20), (301, 99)])
def test_frames_of_any_size(segmenter, plain_logits, noise_image, size):
    frame = noise_image(60, size)
    result = segmenter.segment(frame)
    low = plain_logits(frame, segmenter.network_size(size))
    logits = F.interpolate(low, size=size, mode="bilinear", align_corners=False)[0]
    assert_same_mask(result.mask, logits.argmax(0).numpy())
    assert np.abs(result.confidence - 255 * logits.softmax(0).max(0).values.numpy()).mean() < 0.5
    assert result.mask.dtype == result.confidence.dtype == np.uint8
    assert result.mask.shape == result.confidence.shape == size


def test_input_size_is_used(random_weights, plain_logits, noise_image):
    frame = noise_image(61, (120, 160))
    segmenter = Segmenter.from_pretrained(random_weights, device="cpu", backend="torch", input_size=(72, 104))
    assert segmenter.input_size == segmenter.network_size((120, 160)) == (72, 104)
    logits = F.interpolate(plain_logits(frame, (72, 104)), size=(120, 160), mode="bilinear", align_corners=False)
    assert_same_mask(segmenter.segment(frame).mask, logits[0].argmax(0).numpy())


@pytest.mark.parametrize(
    ("frame", "trained", "expected"),
    [
        ((360, 480), (360, 480), (360, 480)),
        ((720, 960), (360, 480), (360, 480)),
        ((240, 320), (360, 480), (360, 480)),
        ((1080, 1920), (360, 480), (312, 552)),
        ((480, 360), (360, 480), (480, 360)),
        ((1024, 2048), (512, 1024), (512, 1024)),
        ((10, 10000), (96, 128), (64, 3504)),
    ],
)
def test_network_size_keeps_pixels_and_aspect(frame, trained, expected):
    assert network_size(frame, trained) == expected


def test_rgb_and_bgr_give_the_same_mask(segmenter, noise_image):
    frame = noise_image(62, (96, 128))
    bgr = segmenter.segment(frame)
    # A view with negative strides, such as frame[..., ::-1], must work like a copy.
    for rgb in (frame[..., ::-1], frame[..., ::-1].copy()):
        result = segmenter.segment(rgb, order="rgb")
        np.testing.assert_array_equal(result.mask, bgr.mask)
        np.testing.assert_array_equal(result.confidence, bgr.confidence)
    assert (segmenter.segment(frame, order="rgb").mask != bgr.mask).mean() > 0.01


def test_list_keeps_order_and_agrees_with_single_frames(segmenter, noise_image):
    sizes = [(96, 128), (120, 90), (96, 128), (96, 128), (120, 90)] + [(96, 128)] * 8
    frames = [noise_image(70 + index, size) for index, size in enumerate(sizes)]
    results = segmenter.segment(frames)
    assert len(results) == len(frames)
    for frame, result in zip(frames, results, strict=True):
        single = segmenter.segment(frame)
        assert_same_mask(result.mask, single.mask)
        assert np.abs(result.confidence.astype(int) - single.confidence).mean() < 0.5
    assert segmenter.segment([]) == []


def test_region_of_a_larger_frame(segmenter, noise_image):
    """A region of interest is not contiguous in memory."""
    frame = noise_image(63, (150, 200))
    for part in (frame[10:106, 20:148], frame[::-1, ::-1], frame[:, :180:2]):
        expected = segmenter.segment(part.copy())
        np.testing.assert_array_equal(segmenter.segment(part).mask, expected.mask)


def test_frame_is_not_modified(segmenter, noise_image):
    frame = noise_image(64, (96, 128))
    before = frame.copy()
    frame.setflags(write=False)
    segmenter.segment(frame)
    np.testing.assert_array_equal(frame, before)


def test_results_do_not_share_memory(segmenter, noise_image):
    first = segmenter.segment(noise_image(65, (96, 128)))
    kept = first.mask.copy()
    segmenter.segment(noise_image(66, (96, 128)))
    np.testing.assert_array_equal(first.mask, kept)


@pytest.mark.parametrize("attempt", [pickle.dumps, copy.copy, copy.deepcopy])
def test_segmenter_cannot_be_copied_or_pickled(segmenter, noise_image, attempt):
    with pytest.raises(BackendError, match=r"create one in each process with Segmenter.from_pretrained"):
        attempt(segmenter)
    assert segmenter.segment(noise_image(1, (96, 128))).mask.shape == (96, 128)


def test_timings_and_optional_confidence(segmenter, noise_image):
    result = segmenter.segment(noise_image(67, (96, 128)), confidence=False)
    assert result.confidence is None
    timings = result.timings
    assert min(timings.preprocess_ms, timings.inference_ms, timings.postprocess_ms) > 0
    assert timings.total_ms == pytest.approx(timings.preprocess_ms + timings.inference_ms + timings.postprocess_ms)
    np.testing.assert_array_equal(result.mask, segmenter.segment(noise_image(67, (96, 128))).mask)


def test_overlay_has_the_colours_of_the_given_label_set(segmenter, noise_image):
    frame = noise_image(71, (96, 128))
    mask = np.full((96, 128), 3, np.uint8)
    for given, label_set in ((None, segmenter.label_set), (CITYSCAPES, CITYSCAPES)):
        drawn = segmenter.overlay(frame, mask, 1.0, given)
        assert tuple(drawn[0, 0, ::-1]) == label_set.colors[3]


def test_bf16_agrees_with_fp32(segmenter, random_weights, noise_image):
    frame = noise_image(68, (96, 128))
    reduced = Segmenter.from_pretrained(random_weights, device="cpu", backend="torch", precision="bf16")
    assert reduced.precision == "bf16"
    agreement = (reduced.segment(frame).mask == segmenter.segment(frame).mask).mean()
    assert 0.9 < agreement < 1


def test_model_in_memory_is_copied(random_weights, segmenter, noise_image):
    model, metadata = load_weights(random_weights)
    model.train()
    frame = noise_image(69, (96, 128))
    in_memory = Segmenter(model, metadata, device="cpu", backend="torch")
    expected = segmenter.segment(frame)
    np.testing.assert_array_equal(in_memory.segment(frame).mask, expected.mask)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(in_memory.segment(frame).mask, expected.mask)


def test_describe(segmenter, random_weights):
    assert segmenter.device == "cpu"
    assert segmenter.precision == "fp32"
    assert segmenter.backend == "torch"
    assert segmenter.input_size is None
    assert segmenter.label_set.name == "camvid11"
    description = segmenter.describe()
    assert description["weights"] == str(random_weights)
    assert description["backend"] == "torch"
    assert description["device"] == "cpu"


def test_threads_limit_torch_and_opencv(random_weights, noise_image):
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch", threads=1) as segmenter:
            segmenter.warm_up((96, 128))
            assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
            assert segmenter.describe()["threads"] == 1
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((90, 120), np.uint8), r"colour frame.*grey.*cv2.COLOR_GRAY2BGR"),
        (np.zeros((90, 120, 4), np.uint8), r"got 4 .*\[\.\.\., :3\]"),
        (np.zeros((90, 120, 1), np.uint8), r"\(H, W, 3\), got \(90, 120, 1\)"),
        (np.zeros((0, 120, 3), np.uint8), r"at least one pixel, got \(0, 120, 3\)"),
        (np.zeros((90, 120, 3), np.float32), r"uint8 \(0\.\.255\), got float32"),
        (None, r"numpy array.*got NoneType"),
        ("frame.png", r"numpy array.*got str"),
    ],
)
def test_invalid_frames(segmenter, frame, message):
    with pytest.raises(FrameError, match=message):
        segmenter.segment(frame)
    good = np.zeros((96, 128, 3), np.uint8)
    with pytest.raises(FrameError, match="frame 1 of 2: .*" + message):
        segmenter.segment([good, frame])
    assert segmenter.segment(good).mask.shape == (96, 128)


def test_invalid_options(random_weights, tmp_path):
    def build(**options):
        return Segmenter.from_pretrained(random_weights, **{"backend": "torch", **options})

    with pytest.raises(BackendError, match=r"one of auto, .*torch.*, got 'tensorflow'"):
        build(backend="tensorflow")
    for device in ("gpu", "cpu:1", "cuda:x", ""):
        with pytest.raises(BackendError, match="auto, cpu, cuda or cuda:N"):
            build(device=device)
    with pytest.raises(BackendError, match="expected device to be auto, cpu, cuda or cuda:N, got device"):
        build(device=torch.device("cpu"))
    with pytest.raises(BackendError, match="auto, fp32, fp16, bf16, int8, got 'fp8'"):
        build(device="cpu", precision="fp8")
    with pytest.raises(BackendError, match="auto, fp32, bf16 for backend 'torch' on the CPU, got 'fp16'"):
        build(device="cpu", precision="fp16")
    with pytest.raises(ModelError, match="at least 64x64"):
        build(input_size=(32, 128))
    with pytest.raises(ModelError, match="threads"):
        build(threads=-1)
    with pytest.raises(WeightsError):
        Segmenter.from_pretrained(tmp_path / "missing.safetensors")
    with pytest.raises(FrameError, match="one of bgr, rgb, got 'rgba'"):
        build(device="cpu").segment(np.zeros((96, 128, 3), np.uint8), order="rgba")


def test_cuda_without_a_gpu(random_weights, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="no CUDA GPU here; use device cpu or auto"):
        Segmenter.from_pretrained(random_weights, device="cuda")
    assert Segmenter.from_pretrained(random_weights, backend="torch").device == "cpu"


def test_closed_segmenter_is_rejected(random_weights):
    segmenter = Segmenter.from_pretrained(random_weights, device="cpu", backend="torch")
    segmenter.close()
    segmenter.close()
    with pytest.raises(BackendError, match="closed"):
        segmenter.segment(np.zeros((96, 128, 3), np.uint8))


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_frames_of_one_size_form_a_batch(backend, random_weights, noise_image, monkeypatch):
    """``warm_up`` builds the engine for the batch, and each mask equals that of a single frame."""
    frames = [noise_image(80 + index, (96, 128)) for index in range(10)]
    with Segmenter.from_pretrained(random_weights, device="cpu", backend=backend) as segmenter:
        singles = [segmenter.segment(frame) for frame in frames]
        engine, ran = segmenter._backend, []
        infer = engine.infer
        monkeypatch.setattr(engine, "infer", lambda images: ran.append(len(images)) or infer(images))
        for count, batches in ((3, [3]), (10, [8, 2])):
            segmenter.warm_up((96, 128), frames=count)
            ran.clear()
            with monkeypatch.context() as patch:
                if backend == "openvino":
                    patch.setattr(engine, "_build", lambda shape: pytest.fail("built while frames wait"))
                results = segmenter.segment(frames[:count])
            assert ran == batches
            for result, single in zip(results, singles, strict=False):
                assert_same_mask(result.mask, single.mask)
                assert np.abs(result.confidence.astype(int) - single.confidence).mean() < 0.5
        # A second warm-up of the same shape does nothing.
        ran.clear()
        segmenter.warm_up((96, 128), frames=10)
        assert ran == []


def test_frames_of_several_sizes_form_a_batch(random_weights, noise_image, monkeypatch):
    """The network's input has a fixed size; each mask has the size of its frame and equals that of a single frame."""
    frames = [noise_image(index, size) for index, size in enumerate([(96, 128), (120, 90), (120, 90), (96, 128)])]
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch", input_size=(72, 88)) as segmenter:
        expected = [segmenter.segment(frame) for frame in frames]
        ran = []
        infer = segmenter._backend.infer
        monkeypatch.setattr(segmenter._backend, "infer", lambda images: ran.append(len(images)) or infer(images))
        for found, right, frame in zip(segmenter.segment(frames), expected, frames, strict=True):
            assert found.mask.shape == found.confidence.shape == frame.shape[:2]
            assert (found.mask != right.mask).mean() < 1e-3
        assert ran == [4]


def test_warm_up_rebuilds_evicted_shapes(random_weights, noise_image, monkeypatch):
    """A warm-up rebuilds shapes that others have evicted."""
    monkeypatch.setattr("lsabinet_core.inference.backends.shapes.MAX_SHAPES", 2)
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="openvino") as segmenter:
        for frames in (1, 2, 3, 1, 1):
            segmenter.warm_up((96, 128), frames=frames)
            assert (frames, 96, 128) in segmenter._backend.shapes.built


def test_threads_are_limited_to_the_cores(random_weights, noise_image):
    """Thousands of threads crash OpenMP."""
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch", threads=100_000) as segmenter:
        assert segmenter.segment(noise_image(1, (96, 128))).mask.shape == (96, 128)
        assert segmenter.describe()["threads"] == usable_cores()


def test_named_engine_is_built_in_the_background(random_weights, noise_image, monkeypatch):
    frame = noise_image(90, (80, 120))
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as segmenter:
        expected = segmenter.segment(frame).mask
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="openvino") as segmenter:
        engine, may_build = segmenter._backend, threading.Event()
        build = engine._build
        monkeypatch.setattr(engine, "_build", lambda shape: may_build.wait(60) and build(shape))
        segmenter.warm_up((80, 120), wait=False)
        assert_same_mask(segmenter.segment(frame).mask, expected)
        assert engine.ran_plain
        assert not engine.shapes.built
        may_build.set()
        segmenter.warm_up((80, 120))
        assert engine.shapes.built == [(1, *segmenter.network_size((80, 120)))]
        assert_same_mask(segmenter.segment(frame).mask, expected)


def test_frames_resized_on_the_device(segmenter, random_weights, noise_image, monkeypatch):
    """A GPU resizes frames after the upload; the CPU stands in for it here."""
    frames = [noise_image(seed, size) for seed, size in enumerate([(96, 128), (120, 160), (60, 80), (120, 160)])]
    stack = DeviceFrames(torch.device("cpu"))
    with Segmenter.from_pretrained(random_weights, device="cpu", backend="torch") as other:
        monkeypatch.setattr(other, "_stack", stack)
        results = other.segment(frames)
    for frame, result in zip(frames, results, strict=True):
        (image,) = stack([frame], (96, 128)).numpy()
        logits, _, _ = segmenter.logits([image], (96, 128))
        assert_same_mask(result.mask, masks_from_logits(logits, frame.shape[:2], confidence=False)[0][0])
        assert result.timings.total_ms > 0
