"""The bond with Nav2's lifecycle manager, on stand-ins for the messages of bond_core and for the manager's end."""

from types import SimpleNamespace

import pytest
from node_harness import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter
from rclpy.time import Time

from lsabinet_core.errors import LsabinetError
from lsabinet_ros import lifecycle_bond
from lsabinet_ros import node as segmentation_node
from lsabinet_ros.lifecycle_bond import LifecycleBond


class Status:
    """bond/msg/Status."""

    def __init__(self):
        self.header = SimpleNamespace(stamp=None)
        self.id = self.instance_id = ""
        self.active = False
        self.heartbeat_timeout = self.heartbeat_period = 0.0


class Timer:
    """A timer that the test lets fire."""

    def __init__(self, callback):
        self._callback, self._canceled = callback, False

    def cancel(self):
        self._canceled = True

    def is_canceled(self):
        return self._canceled

    def fire(self):
        if not self._canceled:
            self._callback()


class Graph:
    """A node whose topic ``bond`` leads to the manager in this process."""

    def __init__(self):
        self.sent: list[Status] = []
        self.listeners, self.manager, self.timer, self.period_s = [], None, None, None
        self.entities: list[object] = []
        self.context = SimpleNamespace(ok=lambda: True)

    def get_name(self):
        return "segmentation"

    def get_clock(self):
        return SimpleNamespace(now=lambda: Time(seconds=7))

    def create_publisher(self, kind, topic, depth):
        assert (kind, topic) == (Status, "bond")
        publisher = SimpleNamespace(publish=self._publish)
        self.entities.append(publisher)
        return publisher

    def create_subscription(self, kind, topic, callback, depth):
        assert (kind, topic) == (Status, "bond")
        self.listeners.append(callback)
        self.entities.append(callback)
        return callback

    def create_timer(self, period_s, callback, clock):
        self.period_s, self.timer = period_s, Timer(callback)
        self.entities.append(self.timer)
        return self.timer

    def _destroy(self, entity):
        self.entities.remove(entity)

    destroy_timer = destroy_subscription = destroy_publisher = _destroy

    def _publish(self, status):
        self.sent.append(status)
        # A subscription of a topic also receives what its own node publishes.
        for receive in [*self.listeners, *([self.manager.receive] if self.manager else [])]:
            receive(status)

    def deliver(self, **fields):
        status = Status()
        vars(status).update(fields)
        for receive in self.listeners:
            receive(status)


class Manager:
    """The manager's end, after the state machine in bond_core."""

    def __init__(self, graph, instance="manager"):
        self.graph, self.instance, self.state = graph, instance, "waiting for sister"
        graph.manager = self

    def beat(self):
        if self.state != "dead":
            active = self.state != "awaiting the sister's death"
            self.graph.deliver(id="segmentation", instance_id=self.instance, active=active)

    def break_bond(self):
        self.state = "awaiting the sister's death"
        self.beat()

    def receive(self, status):
        if status.id != "segmentation" or status.instance_id == self.instance:
            return
        if status.active:
            if self.state == "waiting for sister":
                self.state = "alive"
        else:
            self.state = "dead"


@pytest.fixture
def graph(monkeypatch):
    monkeypatch.setattr(lifecycle_bond, "Status", Status)
    return Graph()


def test_the_manager_sees_heartbeats_and_the_end(graph):
    manager = Manager(graph)
    bond = LifecycleBond(graph, 0.1)
    assert graph.period_s == 0.1
    graph.timer.fire()
    assert manager.state == "alive"
    for _ in range(3):
        manager.beat()
        graph.timer.fire()
    assert manager.state == "alive"
    assert len({status.instance_id for status in graph.sent}) == 1
    assert all(status.active for status in graph.sent)
    (first, *_) = graph.sent
    assert (first.id, first.header.stamp.sec) == ("segmentation", 7)
    assert (first.heartbeat_timeout, first.heartbeat_period) == (4.0, 0.1)
    bond.end()
    assert manager.state == "dead"
    assert graph.entities == []


def test_the_end_is_confirmed_if_the_manager_ends_the_bond(graph):
    manager = Manager(graph)
    bond = LifecycleBond(graph, 0.1)
    graph.timer.fire()
    manager.beat()
    manager.break_bond()
    assert manager.state == "dead"
    sent = len(graph.sent)
    graph.timer.fire()
    bond.end()
    assert len(graph.sent) == sent
    assert graph.entities == []


def test_bonds_of_others_and_earlier_ones_are_ignored(graph):
    manager = Manager(graph)
    LifecycleBond(graph, 0.1)
    graph.timer.fire()
    manager.beat()
    graph.deliver(id="planner_server", instance_id="manager", active=False)
    graph.deliver(id="segmentation", instance_id="an earlier one", active=False)
    graph.timer.fire()
    assert manager.state == "alive"
    assert graph.sent[-1].active


def test_nothing_is_published_after_the_shutdown(graph):
    bond = LifecycleBond(graph, 0.1)
    graph.context = SimpleNamespace(ok=lambda: False)
    bond.end()
    assert graph.sent == []


def test_instances_differ(graph):
    for _ in range(2):
        LifecycleBond(graph, 0.1)
        graph.timer.fire()
    first, second = graph.sent
    assert first.instance_id != second.instance_id


def test_missing_messages_are_named(monkeypatch):
    monkeypatch.setattr(lifecycle_bond, "Status", None)
    with pytest.raises(LsabinetError, match=r"bond_heartbeat_period: .*apt install"):
        lifecycle_bond.check_installed()


class Recorder:
    """Stands in for the bond: rclpy publishes no message without type support."""

    def __init__(self, found):
        self.found = found

    def __call__(self, node, period_s):
        self.found.append(period_s)
        return SimpleNamespace(end=lambda: self.found.append("ended"))


def test_the_node_has_a_bond_while_it_is_active(ros_domain, monkeypatch):
    segmenter, found = PatternSegmenter(), []
    monkeypatch.setattr(segmentation_node, "_load", lambda values: segmenter)
    monkeypatch.setattr(segmentation_node, "LifecycleBond", Recorder(found))
    monkeypatch.setattr(lifecycle_bond, "Status", None)
    with node_here(ros_domain, UNLIMITED, before_release=segmenter.go_on.set) as context:
        client = Client(context)
        assert client.set(bond_heartbeat_period=0.25) == []
        assert not client.change(CONFIGURE)
        assert client.set(bond_heartbeat_period=0.0) == []
        assert client.change(CONFIGURE)
        assert client.change(ACTIVATE)
        assert client.change(DEACTIVATE)
        assert client.change(CLEANUP)
        assert found == []
        monkeypatch.setattr(lifecycle_bond, "Status", Status)
        assert client.set(bond_heartbeat_period=0.25) == []
        assert client.change(CONFIGURE)
        assert found == []
        assert client.change(ACTIVATE)
        assert found == [0.25]
        assert client.change(DEACTIVATE)
        assert found == [0.25, "ended"]
        assert client.change(ACTIVATE)
        client.close()
    # The node was active when it was released.
    assert found == [0.25, "ended", 0.25, "ended"]
