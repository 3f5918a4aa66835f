#!/usr/bin/env python3
"""Run every engine for CUDA GPUs on the GPU here: parity with PyTorch in fp32, then latency of a whole Segmenter.

    python scripts/check_gpu_engines.py [--weights W] [--size 512x1024] [--precision fp16] [--frames 300]

Engines whose package is missing are listed with what to install. Exits with 1 if an engine that is installed fails.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ENGINES = ("torch", "cuda-graph", "torch-compile", "onnxruntime", "onnxruntime-tensorrt", "tensorrt", "auto")


def main() -> int:
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.cli.segmenter_options import parse_size, positive
    from lsabinet_core.models.weights import load_weights

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="lsabinet_camvid", metavar="W")
    parser.add_argument("--size", type=parse_size, default=(512, 1024), metavar="HxW")
    parser.add_argument("--precision", default="fp16", metavar="P")
    parser.add_argument("--frames", type=positive, default=300, metavar="N")
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("lsabinet: error: PyTorch finds no CUDA GPU here", file=sys.stderr)
        return 1
    show_log()
    model, metadata = load_weights(args.weights)
    print(
        f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {args.size[0]}x{args.size[1]} {args.precision}"
    )
    print(f"{'engine':<22} {'p50 ms':>8} {'p99 ms':>8} {'network ms':>10} {'same class %':>13} {'max error':>10}")
    results = [_check(name, model, metadata, args) for name in ENGINES]
    return 0 if all(results) else 1


def _check(name: str, model, metadata, args) -> bool:
    """Print one line; False where an engine that is installed fails."""
    import numpy as np

    from lsabinet_core.errors import LsabinetError
    from lsabinet_core.inference import Segmenter
    from lsabinet_core.inference.backends import create_backend
    from lsabinet_core.inference.network import Network
    from lsabinet_core.inference.parity import LEAST_AGREEMENT, compare, make_picture

    if name == "tensorrt":
        _build_tensorrt(model, metadata, args)
    network = Network(model, metadata, args.size)
    reference = create_backend("torch", device="cuda", precision="fp32")
    reference.load(network)
    options = {"device": "cuda", "precision": args.precision, "backend": name, "input_size": args.size}
    try:
        with Segmenter(model, metadata, **options) as segmenter:
            segmenter.warm_up(args.size)
            pictures = [make_picture(args.size, seed) for seed in range(4)]
            parity = compare(reference.infer, lambda images: segmenter.logits([images[0]], args.size)[0], pictures)
            totals, network_ms = [], []
            for index in range(args.frames):
                start = time.perf_counter()
                result = segmenter.segment(pictures[index % len(pictures)], confidence=False)
                totals.append(1e3 * (time.perf_counter() - start))
                network_ms.append(result.timings.inference_ms)
            shown = f"{name} ({segmenter.backend})" if name == "auto" else name
    except LsabinetError as error:
        print(f"{name:<22} {error}")
        return "not installed" in str(error) or "has no " in str(error)
    p50, p99 = np.percentile(totals, (50, 99))
    print(
        f"{shown:<22} {p50:8.3f} {p99:8.3f} {np.median(network_ms):10.3f} {100 * parity.agreement:13.4f} "
        f"{parity.max_error:10.3g}"
    )
    return parity.agreement >= LEAST_AGREEMENT[args.precision]


def _build_tensorrt(model, metadata, args) -> None:
    from lsabinet_core.errors import BackendError
    from lsabinet_core.inference.export import ExportSettings, export
    from lsabinet_core.inference.network import Network

    try:
        export(Network(model, metadata, args.size), ExportSettings("tensorrt", args.size, args.precision, batch=1))
    except BackendError as error:
        print(f"lsabinet: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
