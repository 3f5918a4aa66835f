"""The bond through which Nav2's lifecycle manager supervises a node: heartbeats while the node is active.

The protocol is that of https://github.com/ros/bond_core. Both ends publish heartbeats on the topic ``bond``, under the
name of the node. The end that stops first announces it in a last message, which the other one confirms.
"""

import uuid
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from lsabinet_core.errors import LsabinetError

try:
    from bond.msg import Status  # pyright: ignore[reportMissingImports] of ROS only
except ImportError:
    Status = None

TOPIC = "bond"
HEARTBEAT_TIMEOUT_S = 4.0
"""The value of Nav2's own nodes; the manager uses its parameter ``bond_timeout`` instead."""
SENT, RECEIVED = 5, 100
"""Depths of the queues, as in bond_core."""


def check_installed() -> None:
    """Raise LsabinetError if the messages of the bond are not installed."""
    if Status is None:
        raise LsabinetError(
            "bond_heartbeat_period: expected 0, because the ROS package bond is not installed: "
            "sudo apt install ros-$ROS_DISTRO-bond"
        )


class LifecycleBond:
    """The node's end of the bond; it begins at once.

    Args:
        node: the node, whose callbacks and ``end`` must not run at the same time.
        period_s: time between two heartbeats in seconds.
    """

    def __init__(self, node: LifecycleNode, period_s: float):
        self._node, self._period_s = node, period_s
        self._instance = str(uuid.uuid4())
        self._manager: str | None = None
        # Not a lifecycle publisher, which would be silent when the end is announced.
        self._publisher = node.create_publisher(Status, TOPIC, SENT)
        self._subscription = node.create_subscription(Status, TOPIC, self._receive, RECEIVED)
        # A steady clock, because the bond must not break when simulated time stops.
        self._timer = node.create_timer(period_s, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def end(self) -> None:
        """Announce the end to the manager, unless it has ended the bond itself or ROS is shut down."""
        if self._node.context.ok() and not self._timer.is_canceled():
            self._publish(active=False)
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    def _beat(self) -> None:
        self._publish(active=True)

    def _receive(self, status: Any) -> None:
        if status.id != self._node.get_name() or status.instance_id == self._instance:
            return
        if status.active:
            self._manager = status.instance_id
        elif status.instance_id == self._manager:  # rather than the end of an earlier bond
            self._timer.cancel()
            self._publish(active=False)

    def _publish(self, active: bool) -> None:
        assert Status is not None, "check_installed has been called"
        status = Status()
        status.header.stamp = self._node.get_clock().now().to_msg()
        status.id, status.instance_id, status.active = self._node.get_name(), self._instance, active
        status.heartbeat_timeout, status.heartbeat_period = HEARTBEAT_TIMEOUT_S, self._period_s
        self._publisher.publish(status)
