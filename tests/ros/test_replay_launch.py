"""replay.launch.py on recording stand-ins: the player, the node under the bag's time, RViz, the end."""

import argparse
from pathlib import Path

import launch_stand_ins as stand_ins
import pytest
import yaml

from lsabinet_ros.bag.cli import add_arguments

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def launch_file(monkeypatch, tmp_path):
    stand_ins.install(monkeypatch)
    command = tmp_path / "bin" / "lsabinet"
    command.parent.mkdir()
    command.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    return stand_ins.load(ROOT / "launch" / "replay.launch.py")


@pytest.fixture
def run(launch_file, tmp_path):
    bag = tmp_path / "drive.mcap"
    bag.touch()
    return lambda **arguments: stand_ins.launch(
        launch_file.generate_launch_description(), **{"bag": str(bag), **arguments}
    )


def of(entities, kind):
    return [entity for entity in entities if isinstance(entity, kind)]


def test_the_bag_is_played_for_the_node_with_its_own_time(run, tmp_path):
    entities, _ = run(
        image_topic="/camera/image_raw", weights="lsabinet_synthetic", rate="2.0", remap="~/output/mask:=/mask"
    )
    (player,) = of(entities, stand_ins.ExecuteProcess)
    assert player.cmd[:4] == [str(tmp_path / "bin" / "lsabinet"), "bag", "play", str(tmp_path / "drive.mcap")]
    assert "--clock" in player.cmd
    assert player.cmd[player.cmd.index("--rate") + 1] == "2.0"
    assert "--loop" not in player.cmd
    (node,) = of(entities, stand_ins.LifecycleNode)
    assert node.parameters[-1]["use_sim_time"] is True
    assert node.parameters[-1]["weights"].value == "lsabinet_synthetic"
    assert ("~/input/image", "/camera/image_raw") in node.remappings
    assert ("~/output/mask", "/mask") in node.remappings
    assert not of(entities, stand_ins.Node)


def test_the_command_line_is_one_of_the_player(run):
    entities, _ = run(loop="true", rate="0.5")
    (player,) = of(entities, stand_ins.ExecuteProcess)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(player.cmd[2:])
    assert (args.rate, args.loop, args.clock) == (0.5, True, True)


def test_launch_ends_with_the_bag_but_not_twice(run):
    entities, context = run()
    (player,) = of(entities, stand_ins.ExecuteProcess)
    (action,) = player.on_exit(None, context)
    assert isinstance(action, stand_ins.Shutdown)
    context.is_shutdown = True
    assert not player.on_exit(None, context)


def test_rviz_opens_a_view_of_the_nodes_topics(run):
    entities, _ = run(rviz="true")
    (viewer,) = of(entities, stand_ins.Node)
    assert (viewer.package, viewer.executable) == ("rviz2", "rviz2")
    assert viewer.parameters == [{"use_sim_time": True}]
    view = Path(viewer.arguments[viewer.arguments.index("-d") + 1])
    displays = yaml.safe_load(view.read_text())["Visualization Manager"]["Displays"]
    assert {display["Topic"]["Value"] for display in displays} == {
        "/segmentation/output/overlay",
        "/segmentation/output/mask",
    }


def test_a_missing_bag_is_named(run, tmp_path):
    with pytest.raises(RuntimeError, match=r"bag: .*none\.mcap"):
        run(bag=str(tmp_path / "none.mcap"))


def test_a_missing_command_is_named(run, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="lsabinet"):
        run()
