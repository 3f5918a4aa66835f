"""``lsabinet benchmark``: how fast the package is here. By itself it measures inference; sub-verbs measure the rest."""

import argparse
import json
import sys
from pathlib import Path

from lsabinet_core.cli import benchmark_scale, benchmark_train
from lsabinet_core.cli.segmenter_options import count, names, parse_size, positive, sizes

HELP = "measure networks and engines side by side on this machine: latency, throughput, stages, memory"

VERBS = {"train": benchmark_train, "scale": benchmark_scale}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        type=names,
        default=["lsabinet"],
        metavar="M,..",
        help="networks of `lsabinet models` (random weights), shipped weights, weights files (lsabinet)",
    )
    parser.add_argument(
        "--backends",
        type=names,
        default=["eager", "auto"],
        metavar="B,..",
        help="engines, auto, and eager: plain PyTorch, fp32, NCHW, full-size logits, to compare with (eager,auto)",
    )
    parser.add_argument(
        "--sizes", type=sizes, default=[(360, 480)], metavar="HxW,..", help="of the network's input (360x480)"
    )
    parser.add_argument(
        "--precision", type=names, default=["fp32"], metavar="P,..", help="auto, fp32, fp16, bf16, int8 (fp32)"
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images in a call (1)")
    parser.add_argument(
        "--rounds", type=positive, default=20, metavar="N", help="measured turns of each; p99 wants 100 (20)"
    )
    parser.add_argument("--threads", type=count, default=0, metavar="N", help="most CPU threads to use; 0: all (0)")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument(
        "--frame", type=parse_size, metavar="HxW", help="camera's frames for whole calls (the network's size)"
    )
    parser.add_argument("--confidence", action="store_true", help="whole calls compute the confidence, too")
    parser.add_argument(
        "--dataset",
        choices=("camvid", "cityscapes"),
        default="camvid",
        help="whose classes networks with random weights have (%(default)s)",
    )
    parser.add_argument(
        "--memory", action="store_true", help="also start each in a process of its own: first frame, peak memory"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures to this file as JSON")
    parser.add_argument("--csv", type=Path, metavar="F", help="write the rows to this file as CSV")
    parser.add_argument("--plot", type=Path, metavar="F", help="draw the latencies: .png, .pdf or .svg")
    verbs = parser.add_subparsers(title="what else to measure", metavar="WHAT")
    for name, module in VERBS.items():
        verb = verbs.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.benchmark.candidates import combine
    from lsabinet_core.benchmark.inference import benchmark_inference
    from lsabinet_core.cli.benchmark_report import inference_csv, inference_report
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.cli.step_progress import StepProgress
    from lsabinet_core.data import LABEL_SETS
    from lsabinet_core.files import write_text
    from lsabinet_core.plots.latency import draw_latency
    from lsabinet_core.plots.style import check_figure_path

    if args.plot:
        check_figure_path(args.plot)
    show_log()
    with StepProgress() as progress:
        figures = benchmark_inference(
            combine(args.models, args.backends, args.precision, args.sizes, args.batch),
            rounds=args.rounds,
            threads=args.threads,
            device=args.device,
            frame=args.frame,
            confidence=args.confidence,
            label_set=LABEL_SETS[args.dataset],
            memory=args.memory,
            progress=progress.update,
        )
    print(inference_report(figures))
    if args.json:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    if not figures["rows"]:
        print("lsabinet: error: nothing could be measured; see above why", file=sys.stderr)
        return 1
    if args.csv:
        write_text(args.csv, inference_csv(figures["rows"]))
    if args.plot:
        draw_latency(args.plot, figures["rows"])
    return 0
