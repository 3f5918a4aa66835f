"""The log of the core appears in the ROS log of the node."""

import logging
import re
import threading
from types import SimpleNamespace

import pytest
import rclpy
from node_harness import CLEANUP, CONFIGURE, Client, NodeProcess
from rclpy.logging import get_logger

from lsabinet_core.labels import CAMVID
from lsabinet_core.models.weights import WeightsMetadata
from lsabinet_ros import node as segmentation_node
from lsabinet_ros.core_log import CORE, CoreLog
from lsabinet_ros.worker import WorkerThread

LEVELS = ("debug", "info", "warning", "error")


class Recorder(SimpleNamespace):
    """Replaces a ROS logger and keeps (severity, line)."""

    def __init__(self):
        super().__init__(lines=[])
        for level in LEVELS:
            setattr(self, level, lambda text, level=level: self.lines.append((level, text)))


@pytest.fixture
def workers():
    threads = [WorkerThread(), WorkerThread()]
    yield threads
    for thread in threads:
        thread.end(5)


def test_each_worker_has_its_own_log(workers):
    logger = logging.getLogger(f"{CORE}.inference.some")
    logs = [Recorder(), Recorder()]
    handlers = [CoreLog(log, worker.ident) for log, worker in zip(logs, workers, strict=True)]
    try:
        workers[0].submit(lambda: logger.warning("engine %s\n  broke", "a")).result()
        workers[1].submit(lambda: logger.info("x" * 600)).result()
        assert logs[0].lines == [("warning", "engine a broke")]
        assert logs[1].lines == [("info", "x" * 500)]
    finally:
        for handler in handlers:
            handler.close()
    workers[0].submit(lambda: logger.warning("too late")).result()
    assert len(logs[0].lines) == 1
    assert not [handler for handler in logging.getLogger(CORE).handlers if isinstance(handler, CoreLog)]


def test_records_of_other_threads_go_to_every_node(workers):
    """Engines are built in threads of the core, which do not tell to which node an engine belongs."""
    logger = logging.getLogger(f"{CORE}.inference.some")
    logs = [Recorder(), Recorder()]
    handlers = [CoreLog(log, worker.ident) for log, worker in zip(logs, workers, strict=True)]

    def log_from_builder(text):
        builder = threading.Thread(target=lambda: logger.info(text))
        builder.start()
        builder.join()

    log_from_builder("building")
    handlers[0].close()
    # The first node's worker is a thread like any other once that node is unconfigured.
    workers[0].submit(lambda: logger.warning("after close")).result()
    log_from_builder("still building")
    handlers[1].close()
    assert logs[0].lines == [("info", "building")]
    assert logs[1].lines == [("info", "building"), ("warning", "after close"), ("info", "still building")]


def test_levels_and_repetition(workers):
    logger = logging.getLogger(CORE)
    # As in the node's process; here, a command may have set it.
    logger.setLevel(logging.NOTSET)
    log = Recorder()
    handler = CoreLog(log, workers[0].ident)

    def speak():
        for _ in range(5):
            for level in (*LEVELS, "critical"):
                getattr(logger, level)(f"at {level}")

    try:
        workers[0].submit(speak).result()
    finally:
        handler.close()
    assert log.lines == [*((level, f"at {level}") for level in LEVELS), ("error", "at critical")]


def test_a_ros_logger_accepts_every_level(workers, capfd):
    """It rejects a different severity from the same line of code."""
    handler = CoreLog(get_logger("some_node"), workers[0].ident)
    try:
        for level in LEVELS[1:]:
            workers[0].submit(lambda: getattr(logging.getLogger(CORE), level)(f"at {level}")).result()
    finally:
        handler.close()
    found = re.findall(r"\[(\w+)\] \[[\d.]+\] \[some_node\]: (.*)", capfd.readouterr().err)
    assert found == [("INFO", "at info"), ("WARN", "at warning"), ("ERROR", "at error")]


def test_two_nodes_in_one_process(ros_domain, monkeypatch, capfd):
    def load(values):
        logging.getLogger(f"{CORE}.inference").info("loading %s", values["weights"])
        engine = {"architecture": "none", "device": "cpu", "precision": "fp32", "backend": "none"}
        metadata = WeightsMetadata("fake", CAMVID, (90, 120), (0.4,) * 3, (0.3,) * 3)
        return SimpleNamespace(
            label_set=CAMVID, device="cpu", metadata=metadata, describe=lambda: engine, close=lambda: None
        )

    monkeypatch.setattr(segmentation_node, "_load", load)
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    names = ("left", "right")
    nodes = [
        segmentation_node.SegmentationNode(
            context=context, namespace=name, parameter_overrides=[rclpy.Parameter("weights", value=f"{name}_weights")]
        )
        for name in names
    ]
    try:
        for node in nodes:
            node.trigger_configure()
        nodes[0].trigger_cleanup()
        nodes[1].trigger_shutdown()
        assert not [handler for handler in logging.getLogger(CORE).handlers if isinstance(handler, CoreLog)]
    finally:
        for node in nodes:
            node.release()
            node.destroy_node()
        rclpy.shutdown(context=context)
    lines = re.findall(r"\[([\w.]+)\]: loading (\w+)", capfd.readouterr().err)
    assert lines == [(f"{name}.segmentation", f"{name}_weights") for name in names]


def test_the_choice_of_an_engine_is_logged(ros_domain, weights_file, engine_cache):
    """In a separate process, with the installed engines."""
    node = NodeProcess(weights=weights_file, backend="auto", device="cpu", threads=1, diagnostics_period_s=0.1)
    client = Client(ros_domain)

    def lines(text: str) -> list[str]:
        return [line for line in node.lines if text in line]

    try:
        assert client.change(CONFIGURE)
        (line,) = client.until(lambda: lines("backend auto: "), "the choice")
        assert re.match(
            r"\[INFO\] \[[\d.]+\] \[segmentation\]: backend auto: \w+ in fp32, as remembered: "
            r"at 64x96 in fp32: \w+ [\d.]+ ms, ",
            line,
        )
        client.until(lambda: client.status()["engine_state"] == "ready", "the end of the build")
        assert client.change(CLEANUP)
        for file in (engine_cache / "choices").glob("*.json"):
            file.write_text("{")
        assert client.change(CONFIGURE)
        (line,) = client.until(lambda: lines("is corrupt"), "the warning")
        assert line.startswith("[WARN]")
        client.until(lambda: len(lines("backend auto: ")) == 2, "the second choice")
        assert node.end() == 0
        assert "Traceback" not in node.output
    finally:
        client.close()
        if node.process.poll() is None:
            node.kill()
