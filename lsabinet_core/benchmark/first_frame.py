"""Time from the start of a program to its first mask, and its peak memory, measured in a separate process.

Run as a module, this is that program: ``python -m lsabinet_core.benchmark.first_frame JSON``.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lsabinet_core.errors import BackendError, LsabinetError

FRAMES_AFTER = 5
"""Number of frames after the first one, before the peak memory is read."""
STARTS = 2
"""Number of starts: the first one fills the engine cache and the system's file cache; the last one is reported."""


def measure_first_frame(
    weights: str | os.PathLike,
    backend: str,
    precision: str,
    size: tuple[int, int],
    *,
    batch: int = 1,
    frame: tuple[int, int] | None = None,
    threads: int = 0,
    device: str = "auto",
) -> dict[str, float]:
    """Start a program that segments ``batch`` frames per call, twice, and report the second start.

    Args:
        weights: weights file or name of shipped weights.
        backend: an engine, ``auto``, or ``eager`` for unmodified PyTorch.
        precision: see ``Segmenter``.
        size: (H, W) of the network's input.
        batch: frames per call.
        frame: (H, W) of the frames; None: the size of the network's input.
        threads: see ``Segmenter``.
        device: see ``Segmenter``.

    Returns:
        ``first_frame_s``: from the start of the process, including Python's own start, to the first mask.
        ``start_cpu_s``: processor time until then, over all threads. ``peak_mb``: peak main memory of the process
        (10^6 bytes; GPU memory is not counted).

    Raises:
        BackendError: the program failed; the message contains its last line of output.
    """
    request = {
        "weights": os.fspath(weights),
        "backend": backend,
        "precision": precision,
        "size": size,
        "batch": batch,
        "frame": frame or size,
        "threads": threads,
        "device": device,
    }
    figures: dict[str, float] = {}
    for _ in range(STARTS):
        figures = _start(request)
    return figures


def _start(request: dict) -> dict[str, float]:
    package = Path(__file__).resolve().parents[2]
    path = [os.environ.get("PYTHONPATH")]
    # An installed package is found without it; site-packages on the path would shadow the standard library.
    if package.name not in ("site-packages", "dist-packages"):
        path.insert(0, str(package))
    # A file, because an engine with much output would block on a pipe that is not read.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "lsabinet_core.benchmark.first_frame", json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        )
        assert process.stdout is not None, "it is a pipe"
        with process:
            try:
                first = process.stdout.readline()
                first_frame_s = time.perf_counter() - started
                last = process.stdout.readline()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            said.seek(0)
            words = said.read().strip().splitlines() or [f"it ended with status {process.returncode}"]
            raise BackendError(f"the separate process failed: {words[-1]}")
    return {"first_frame_s": round(first_frame_s, 3), **json.loads(first), **json.loads(last)}


def main(text: str) -> int:
    """Segment; print a line of JSON at the first mask and another one at the end."""
    # C++ engines print to the file descriptor of stdout: redirect everything except our own output to stderr.
    ours = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.loads(text)
    size, frame = tuple(request["size"]), tuple(request["frame"])
    try:
        segment = _eager(request, size) if request["backend"] == "eager" else _segmenter(request, size)
    except LsabinetError as error:
        print(error, file=sys.stderr)
        return 1
    import numpy as np

    frames = [np.random.default_rng(seed).integers(0, 256, (*frame, 3), np.uint8) for seed in range(request["batch"])]
    segment(frames)
    print(json.dumps({"start_cpu_s": round(time.process_time(), 3)}), file=ours, flush=True)
    for _ in range(FRAMES_AFTER):
        segment(frames)
    print(json.dumps({"peak_mb": round(peak_bytes() / 1e6, 1)}), file=ours, flush=True)
    return 0


def _segmenter(request: dict, size: tuple[int, int]) -> Callable[[list], object]:
    from lsabinet_core.inference import Segmenter

    options = {name: request[name] for name in ("backend", "precision", "threads", "device")}
    segmenter = Segmenter.from_pretrained(request["weights"], input_size=size, **options)
    return lambda frames: segmenter.segment(frames, confidence=False)


def _eager(request: dict, size: tuple[int, int]) -> Callable[[list], object]:
    import cv2
    import numpy as np
    import torch

    from lsabinet_core.inference.backends.choose import choose_device
    from lsabinet_core.inference.threads import limit_threads
    from lsabinet_core.models.weights import load_weights

    limit_threads(request["threads"])
    device = choose_device(request["device"])
    model, metadata = load_weights(request["weights"])
    model.to(device)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (metadata.mean, metadata.std))

    @torch.inference_mode()
    def segment(frames: list[np.ndarray]) -> torch.Tensor:
        resized = np.stack([cv2.resize(frame, size[::-1])[..., ::-1] for frame in frames])
        image = torch.from_numpy(resized).permute(0, 3, 1, 2).float().contiguous() / 255
        return model(((image - mean) / std).to(device)).argmax(1).cpu()

    return segment


def peak_bytes() -> int:
    """Peak main memory of this process since its start."""
    try:
        # Preferred to ru_maxrss, in which a child starts with its parent's peak.
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
