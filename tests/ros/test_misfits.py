"""Parameters and files that a node does not use are named in its log, other misfits in /diagnostics."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from node_harness import CONFIGURE, UNLIMITED, Client, NodeProcess
from rosgraph_msgs.msg import Clock

from lsabinet_ros.misfits import file_for_other_nodes, parameter_files, unknown_parameters
from lsabinet_ros.parameters import BY_NAME

NODE = "/veh/segmentation"


def test_unknown_names_and_near_misses():
    lines = unknown_parameters(["overlay_alhpa", "weights", "robot_name", "max_image_age"], list(BY_NAME))
    assert len(lines) == 3
    assert "'max_image_age'" in lines[0]
    assert "'max_image_age_ms'" in lines[0]
    assert "'overlay_alpha'" in lines[1]
    assert "mean" not in lines[2]
    assert unknown_parameters(BY_NAME, list(BY_NAME)) == []


def test_parameter_files_of_a_command_line():
    arguments = ["--params-file", "a", "--ros-args", "-p", "x:=1", "--params-file", "b", "--", "--params-file", "c"]
    arguments += ["--ros-args", "--params-file", "d", "--params-file"]
    assert parameter_files(arguments) == [Path("b"), Path("d")]
    assert parameter_files([]) == []


@pytest.mark.parametrize(
    "key", ["/**", "/veh/segmentation", "veh/segmentation", "/veh/*", "/*/segmentation", "/**/segmentation", "/veh/**"]
)
def test_files_that_apply(tmp_path, key):
    path = tmp_path / "a.yaml"
    path.write_text(f"other:\n  ros__parameters:\n    a: 1\n{key}:\n  ros__parameters:\n    threads: 2\n")
    assert file_for_other_nodes(path, NODE) is None


@pytest.mark.parametrize("key", ["segmentation", "/segmentation", "/veh", "/*", "/veh/segmentation_2", "/veh/segment"])
def test_files_that_do_not_apply(tmp_path, key):
    path = tmp_path / "a.yaml"
    path.write_text(f"{key}:\n  ros__parameters:\n    threads: 2\n")
    problem = file_for_other_nodes(path, NODE)
    assert all(word in problem for word in (str(path), NODE, "/**", key.strip("/")))
    assert "\n" not in problem


def test_nested_namespaces_and_empty_files(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("veh:\n  segmentation:\n    ros__parameters:\n      threads: 2\n")
    assert file_for_other_nodes(path, NODE) is None
    assert "/veh/segmentation" in file_for_other_nodes(path, "/segmentation")
    path.write_text("")
    assert file_for_other_nodes(path, NODE) is None


# The real node


@pytest.fixture
def start(ros_domain, weights_file):
    """Start a node with these command-line arguments, and a client; both end with the test."""
    nodes, clients = [], []

    def run(*arguments: str, **parameters):
        defaults = {"weights": weights_file, "backend": "torch", "threads": 1, "diagnostics_period_s": 0.1, **UNLIMITED}
        nodes.append(NodeProcess(*arguments, **{**defaults, **parameters}))
        clients.append(Client(ros_domain))
        return nodes[-1], clients[-1]

    yield run
    for client in clients:
        client.close()
    for node in nodes:
        if node.process.poll() is None:
            node.end(signal.SIGINT)
        assert "Traceback" not in node.output


def warnings_of(node: NodeProcess, client: Client, word: str) -> list[str]:
    client.until(lambda: any(word in line for line in node.lines), f"line with {word}")
    return [line for line in node.lines if line.startswith("[WARN]") and word in line]


def test_parameters_that_are_not_used_are_named_once(start, tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text(
        "/**:\n  ros__parameters:\n    overlay_alhpa: 0.3\n    robot_name: r2\n    use_sim_time: false\n"
        "    qos_overrides:\n      /segmentation/output/mask:\n        publisher:\n          reliability: reliable\n"
        "    max_image_age_ms: 123\n"
    )
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("/veh/segmentation:\n  ros__parameters:\n    threads: 4\n")
    node, client = start("--params-file", str(path), "--params-file", str(wrong))
    client.bring_up()
    (line,) = warnings_of(node, client, "overlay_alhpa")
    assert "'overlay_alpha'" in line
    assert len(warnings_of(node, client, "robot_name")) == 1
    (line,) = warnings_of(node, client, str(wrong))
    assert "/segmentation" in line
    warned = [line for line in node.lines if line.startswith("[WARN]")]
    assert len(warned) == 3, warned
    assert client.status()["level"] == 0


def test_cameras_beside_the_topic_of_a_single_one(start):
    node, client = start("-r", "~/input/image:=/cam/image", cameras="[front,rear]")
    assert client.change(CONFIGURE)
    (line,) = warnings_of(node, client, "/cam/image")
    assert "front, rear" in line


def test_a_second_node_of_the_same_name(start):
    node, client = start()
    assert client.status()["level"] == 0
    other, _ = start()
    # Both answer the client from here on, so it does not call services.
    client.until(lambda: [line for line in node.lines if "another node" in line], "warning of the first node")
    client.until(lambda: [line for line in other.lines if "another node" in line], "warning of the second node")
    client.diagnostics.clear()
    client.until(lambda: [m for m in client.diagnostics if m.status[0].level == b"\x01"], "diagnostics")
    assert other.end(signal.SIGINT) == 0
    client.until(lambda: client.status()["level"] == 0, "end of the warning")
    assert len(warnings_of(node, client, "another node")) == 1


def test_simulated_time_without_a_clock(start):
    _, client = start(use_sim_time="true")
    report = client.until(lambda: [m for m in client.diagnostics if m.status[0].level == b"\x01"], "warning")[0]
    assert "/clock" in report.status[0].message
    clock = client.node.create_publisher(Clock, "/clock", 1)
    now = Clock()

    def healthy():
        now.clock.sec += 1
        clock.publish(now)
        client.diagnostics.clear()
        client.spin(0.3)
        return client.diagnostics and client.diagnostics[-1].status[0].level == b"\x00"

    client.until(healthy, "end of the warning")


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["-h", "--ros-args"], 0), (["--wieghts", "x"], 2)])
def test_help_and_unknown_options_end_at_once(arguments, status, tmp_path):
    start_s = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "lsabinet_ros.segmentation_node", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == status
    assert time.monotonic() - start_s < 30
    said = result.stdout if status == 0 else result.stderr
    assert "usage: segmentation" in said
    assert "--ros-args" in said
