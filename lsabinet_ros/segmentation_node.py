"""The node's process: ``ros2 run lsabinet_ros segmentation`` or ``python -m lsabinet_ros.segmentation_node``."""

import argparse
import contextlib
import os
import signal
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


HELP = """\
Segment camera images. Without a launch file, the node waits in the state unconfigured:

  ros2 lifecycle set /segmentation configure
  ros2 lifecycle set /segmentation activate

The launch file does both: ros2 launch lsabinet_ros segment.launch.py --show-args
Parameters and topics: docs/node.md, or ros2 param describe /segmentation NAME
"""


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM, or until ``build_only`` is done.

    Returns:
        The exit status: 0 after a signal, unless it interrupted ``build_only``.

    Args:
        args: the command line without the name of the program; ``sys.argv`` by default.
    """
    arguments = sys.argv[1:] if args is None else args
    parser = argparse.ArgumentParser(
        prog="segmentation",
        usage="%(prog)s [--help] [--ros-args -p NAME:=VALUE --params-file FILE -r FROM:=TO ...]",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(_without_ros(arguments))
    # The imports take seconds, during which there is nothing to clean up yet.
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
    status = _run(arguments)
    # Ending the interpreter takes a moment, in which only SIG_IGN stays in force: a handler of ours would be gone.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if threading.active_count() > 1:
        # A frame or an engine build that cannot be interrupted is still running. Its thread would abort the process if
        # it returned to an interpreter that is being torn down.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _without_ros(arguments: list[str]) -> list[str]:
    """The arguments outside of ``--ros-args ... --``."""
    own, within = [], False
    for argument in arguments:
        if argument == "--ros-args" or (within and argument == "--"):
            within = argument == "--ros-args"
        elif not within:
            own.append(argument)
    return own


def _run(arguments: list[str]) -> int:
    """Run the node until a signal arrives, and release it."""
    import traceback

    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions, install_signal_handlers

    from lsabinet_core.errors import one_line
    from lsabinet_ros import misfits, transport
    from lsabinet_ros.node import SegmentationNode

    # rclpy's handlers shut the context down and then call Python's, which would raise KeyboardInterrupt anywhere. A
    # terminal and a launch file often send the signal twice, so it must stay harmless until the process ends.
    stopped = []
    for number in SIGNALS:
        signal.signal(number, lambda *_: stopped.append(True))
    warnings = transport.prepare()
    executor = None
    try:
        with contextlib.ExitStack() as ending:
            ending.callback(rclpy.try_shutdown)
            rclpy.init(args=["segmentation", *arguments], signal_handler_options=SignalHandlerOptions.NO)
            node = SegmentationNode()
            ending.callback(node.destroy_node)
            # Not earlier: shutting the context down while the node is being created would leave it half-built.
            install_signal_handlers(SignalHandlerOptions.ALL)
            for path in misfits.parameter_files(arguments):
                if (problem := misfits.file_for_other_nodes(path, node.get_fully_qualified_name())) is not None:
                    warnings.append(problem)
            for warning in warnings:
                node.get_logger().warning(warning)
            if node.get_parameter("build_only").value:
                return 0 if node.build_engines() else 1
            executor = SingleThreadedExecutor()
            ending.callback(executor.shutdown)
            ending.callback(node.release)
            executor.add_node(node)
            # A signal that came before rclpy's handlers were installed has not shut the context down.
            while node.context.ok() and not stopped:
                executor.spin_once()
    except ExternalShutdownException:
        pass
    except Exception as error:  # noqa: BLE001 the last resort: any other error becomes an exit status
        # A signal during a callback shuts the context down underneath it, which is not an error of the node.
        if not stopped:
            print(f"segmentation: error: {one_line(error)}", file=sys.stderr)
            if executor is not None:  # a bug; without an executor, rclpy rejected an argument
                traceback.print_exc()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
