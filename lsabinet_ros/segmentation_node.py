"""The node's process: ``ros2 run lsabinet_ros segmentation`` or ``python -m lsabinet_ros.segmentation_node``."""

import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit status, 0 after a signal."""
    # The imports take seconds, and nothing has begun yet that would have to be ended.
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))
    import traceback

    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions, install_signal_handlers

    from lsabinet_ros import transport
    from lsabinet_ros.camera import one_line
    from lsabinet_ros.node import SegmentationNode

    # rclpy's handlers end the context and then call Python's, which would raise KeyboardInterrupt anywhere. A terminal
    # and a launch file often send the signal twice, so it must stay harmless until the end.
    stopped = []
    for number in SIGNALS:
        signal.signal(number, lambda *_: stopped.append(True))
    warnings = transport.prepare()
    node = None
    executor = None
    idle = True
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = SegmentationNode()
        # Only now: a context that ends while a node is made of it leaves half a node behind.
        install_signal_handlers(SignalHandlerOptions.ALL)
        for warning in warnings:
            node.get_logger().warning(warning)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # A signal before rclpy had its handlers has not ended the context.
        while node.context.ok() and not stopped:
            executor.spin_once()
    except ExternalShutdownException:
        pass
    except Exception as error:
        # A signal in the middle of a callback takes the context away from under it: no error of ours.
        if not stopped:
            print(f"segmentation: error: {one_line(error)}", file=sys.stderr)
            if executor is not None:  # a bug, where before it was an argument that rclpy refused
                traceback.print_exc()
            return 1
    finally:
        if node is not None:
            idle = node.release()
        if executor is not None:
            executor.shutdown()
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        # Python's own end takes a moment, too, and would let a signal kill us; one that is ignored stays so.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    if not idle:
        # Python's own end would pull the interpreter away from under the busy thread, which may crash.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
