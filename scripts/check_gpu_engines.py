#!/usr/bin/env python3
"""Check every engine for CUDA GPUs on this machine's GPU, and print their accuracy and speed.

    python scripts/check_gpu_engines.py [--models lsabinet_camvid,dabnet] [--size 512x1024] [--precision fp16]

For each network and engine it prints: the share of pixels with the same class as PyTorch in fp32; the time of the
network alone on images that are already on the GPU; the time of the whole Segmenter from the camera frame to the mask,
including upload and download, with all engines interleaved; and the difference of frames resized and coloured by the
GPU from OpenCV's. Finally it prints the lower bound: the time to move weights and activations through memory once.

TensorRT engines are built first, which takes minutes once. If the package of an engine is missing, the output says how
to install it. Exits with 1 if an installed engine fails or disagrees.
"""

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lsabinet_core.benchmark.candidates import Candidate, open_network
from lsabinet_core.benchmark.hardware import describe_machine, show_device
from lsabinet_core.benchmark.inference import benchmark_inference
from lsabinet_core.benchmark.interleaved import synchronize
from lsabinet_core.cli.logs import show_log
from lsabinet_core.cli.segmenter_options import names, parse_size, positive
from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference.backends import create_backend
from lsabinet_core.inference.backends.choose import DTYPES
from lsabinet_core.inference.backends.trial import TOLERANCE
from lsabinet_core.inference.deploy import DeployedNetwork
from lsabinet_core.inference.device_frames import DeviceFrames
from lsabinet_core.inference.device_overlay import DeviceOverlay
from lsabinet_core.inference.export import ExportSettings, export
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.overlay import blend
from lsabinet_core.inference.parity import MIN_AGREEMENT, Parity, compare, make_picture
from lsabinet_core.inference.preprocess import stack_frames
from lsabinet_core.labels import CAMVID
from lsabinet_core.text_table import format_table

ENGINES = ("torch", "cuda-graph", "torch-compile", "onnxruntime", "onnxruntime-tensorrt", "tensorrt", "auto")
COLUMNS = ["network", "engine", "same class %", "alone ms", "alone fps", "segment p50", "segment p99"]
AIMS = "targets on an H100 at 512x1024 in fp16: alone 1000 fps, segment p50 1.5 ms, p99 2.5 ms"
REPEATS = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=names, default=["lsabinet_camvid", "dabnet"], metavar="M,..")
    parser.add_argument("--engines", type=names, default=list(ENGINES), metavar="E,..")
    parser.add_argument("--size", type=parse_size, default=(512, 1024), metavar="HxW")
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp16")
    parser.add_argument("--rounds", type=positive, default=200, metavar="N", help="measured rounds (default: 200)")
    parser.add_argument("--device", default="cuda", metavar="D", help="cuda, cuda:N, or cpu for a trial; default: cuda")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        print("lsabinet: error: PyTorch finds no CUDA GPU here", file=sys.stderr)
        return 1
    show_log()
    device = torch.device(args.device)
    print(f"{show_device(describe_machine(device))}, PyTorch {torch.__version__}, {args.size[0]}x{args.size[1]}")
    try:
        networks = {name: Network(*open_network(name, CAMVID), args.size) for name in args.models}
    except LsabinetError as error:
        print(f"lsabinet: error: {error}", file=sys.stderr)
        return 1
    checked, failures = {}, []
    for model, network in networks.items():
        for engine in args.engines:
            try:
                checked[model, engine] = check(network, engine, args)
            except Exception as error:  # noqa: BLE001 - one engine's failure does not stop the others
                failures.append((model, engine, error))
    measured = benchmark_inference(
        [Candidate(model, engine, args.precision, args.size) for model, engine in checked],
        rounds=args.rounds,
        device=args.device,
    )
    rows = []
    for row in measured["rows"]:
        parity, alone = checked[row["model"], row["backend"]]
        chosen = f"auto: {row['chosen'].partition(',')[0]}" if row["chosen"] else row["backend"]
        rows.append([row["model"], chosen, f"{100 * parity.agreement:.4f}"])
        rows[-1] += ["-", "-"] if alone is None else [f"{alone:.3f}", f"{1e3 / alone:.0f}"]
        rows[-1] += [f"{row['segment_ms']:.3f}", f"{row['segment_p99_ms']:.3f}"]
    print(format_table(COLUMNS, rows, COLUMNS[:2]))
    print(AIMS)
    levels = frame_difference(device, args.size)
    print(f"frames resized and coloured: maximum difference from OpenCV {levels} of 255 levels")
    for model, network in networks.items():
        moved = bytes_moved(network, DTYPES[args.precision])
        rate = bytes_per_second(device)
        print(f"{model}: {moved / 1e6:.0f} MB to move, {1e3 * moved / rate:.3f} ms at {rate / 1e9:.0f} GB/s")
    failures += [(row["model"], row["backend"], row["reason"]) for row in measured["failures"]]
    for model, engine, error in failures:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(f"{model}, {engine}: {words}")
    least, most = MIN_AGREEMENT[args.precision], TOLERANCE[args.precision]
    wrong = 0
    for (model, engine), (parity, _) in checked.items():
        off = parity.relative_rms_error
        if not (parity.agreement >= least and off <= most):
            wrong += 1
            print(
                f"{model}, {engine}: {100 * parity.agreement:.4g} % of the pixels agree, expected {100 * least:g}; "
                f"RMS logit error {100 * off:.2g} % of the logit range, expected at most {100 * most:g}"
            )
    return 1 if wrong or levels > 1 or any(not is_missing(error) for _, _, error in failures) else 0


def is_missing(error: object) -> bool:
    """Whether an engine is merely not installed."""
    return isinstance(error, LsabinetError) and (
        "not installed" in str(error) or "installed here has no " in str(error)
    )


@torch.inference_mode()
def check(network: Network, engine: str, args: argparse.Namespace) -> tuple[Parity, float | None]:
    """Agreement of the logits with PyTorch in fp32; milliseconds of the network alone if the engine reports them."""
    if engine == "tensorrt":
        export(network, ExportSettings("tensorrt", args.size, args.precision, batch=1))
    reference = create_backend("torch", device=args.device, precision="fp32")
    backend = create_backend(engine, device=args.device, precision=args.precision)
    try:
        reference.load(network)
        backend.load(network)
        backend.prepare(args.size)
        pictures = [make_picture(args.size, seed) for seed in range(4)]
        parity = compare(reference.infer, backend.infer, pictures)
        alone = backend.network_alone((1, *args.size))
        return parity, None if alone is None else time_alone(alone, backend.device)
    finally:
        backend.close()
        reference.close()


def frame_difference(device: torch.device, size: tuple[int, int]) -> int:
    """Maximum difference in levels between frames resized and coloured on the device and by OpenCV."""
    frame = make_picture((720, 960))
    mask = frame[..., 0] % len(CAMVID)
    ours = [DeviceFrames(device)([frame], size)[0].cpu().numpy(), DeviceOverlay(device, CAMVID)(frame, mask, 0.5)]
    theirs = [stack_frames([frame], size)[0], blend(frame, mask, CAMVID, 0.5)]
    return max(int(abs(a.astype(int) - b).max()) for a, b in zip(ours, theirs, strict=True))


def time_alone(call, device: torch.device) -> float:
    """Milliseconds of one call among many consecutive calls."""
    times = []
    for _ in range(5):
        synchronize(device)
        started = time.perf_counter()
        for _ in range(REPEATS):
            call()
        synchronize(device)
        times.append(1e3 * (time.perf_counter() - started) / REPEATS)
    return statistics.median(times)


@torch.inference_mode()
def bytes_moved(network: Network, dtype: torch.dtype) -> int:
    """Bytes of every weight read once, and of every layer's output written once and read once."""
    deployed = DeployedNetwork(copy.deepcopy(network.model), network.metadata, dtype=dtype).eval().to("meta")
    moved = sum(tensor.nbytes for tensor in deployed.state_dict().values())

    def add(module, inputs, output):
        nonlocal moved
        moved += 2 * output.nbytes

    for module in deployed.modules():
        # Folded normalisations no longer exist.
        if not list(module.children()) and not isinstance(module, torch.nn.Identity):
            module.register_forward_hook(add)
    deployed(torch.empty(1, *network.size, 3, dtype=torch.uint8, device="meta"))
    return moved


def bytes_per_second(device: torch.device) -> float:
    """Memory bandwidth (read and write) of a copy within the device."""
    source = torch.ones(1 << (30 if device.type == "cuda" else 24), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / (1e-3 * time_alone(lambda: target.copy_(source), device))


if __name__ == "__main__":
    sys.exit(main())
