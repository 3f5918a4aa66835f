"""v4l2.launch.py on recording stand-ins: the installed driver, its parameters, the node on its images."""

from pathlib import Path

import launch_stand_ins as stand_ins
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch, tmp_path):
    stand_ins.install(monkeypatch)
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    launch_file = stand_ins.load(ROOT / "launch" / "v4l2.launch.py")

    def run(*installed, **arguments):
        for package in installed:
            (index / package).touch()
        entities, _ = stand_ins.launch(launch_file.generate_launch_description(), **arguments)
        return entities

    return run


def one(entities, kind):
    (found,) = (entity for entity in entities if isinstance(entity, kind))
    return found


def test_the_first_installed_driver_feeds_the_node(run):
    entities = run("usb_cam", "v4l2_camera", image_topic="cam/image_raw", namespace="front", video_device="/dev/video2")
    driver, node = one(entities, stand_ins.Node), one(entities, stand_ins.LifecycleNode)
    assert (driver.package, driver.executable, driver.namespace) == ("usb_cam", "usb_cam_node_exe", "front")
    assert driver.parameters == [
        {"video_device": "/dev/video2", "frame_id": "camera", "image_width": 640, "image_height": 480}
    ]
    assert driver.remappings == [("image_raw", "cam/image_raw")]
    assert node.namespace == "front"
    assert ("~/input/image", "cam/image_raw") in node.remappings


def test_another_driver_has_parameters_of_its_own(run):
    entities = run("v4l2_camera", image_width="1280", image_height="720", camera_frame="rear")
    driver = one(entities, stand_ins.Node)
    assert (driver.package, driver.executable, driver.name) == ("v4l2_camera", "v4l2_camera_node", "rear")
    assert driver.parameters == [{"video_device": "/dev/video0", "camera_frame_id": "rear", "image_size": [1280, 720]}]


@pytest.mark.parametrize(
    ("driver", "installed", "package"),
    [
        ("auto", [], "ros-$ROS_DISTRO-usb-cam"),
        ("v4l2_camera", ["usb_cam"], "ros-$ROS_DISTRO-v4l2-camera"),
    ],
)
def test_a_missing_driver_is_named_with_its_debian_package(run, driver, installed, package):
    with pytest.raises(RuntimeError) as caught:
        run(*installed, driver=driver)
    assert package in str(caught.value)


@pytest.mark.parametrize("width", ["0", "-640", "wide", ""])
def test_a_bad_size_is_refused(run, width):
    with pytest.raises(RuntimeError, match="image_width"):
        run("usb_cam", image_width=width)
