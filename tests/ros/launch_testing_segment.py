"""The launch file with the real launch system, run by launch_testing, where a ROS 2 distribution and a workspace with
this package are sourced:

    launch_test tests/ros/launch_testing_segment.py

pytest does not collect it: no package registry has launch, so ``test_segment_launch.py`` uses stand-ins.
"""

import time
import unittest
from pathlib import Path

import launch_testing.actions
import launch_testing.asserts
import rclpy
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "segment.launch.py"
ARGUMENTS = {"weights": "lsabinet_synthetic", "backend": "torch", "image_topic": "/camera/image_raw"}
HEIGHT, WIDTH = 90, 120
DEADLINE_S = 120


def generate_test_description():
    included = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=ARGUMENTS.items()
    )
    return LaunchDescription([included, launch_testing.actions.ReadyToTest()])


class TestLaunched(unittest.TestCase):
    def setUp(self):
        rclpy.init()
        self.node = rclpy.create_node("camera")

    def tearDown(self):
        self.node.destroy_node()
        rclpy.shutdown()

    def test_the_node_becomes_active_and_answers_a_frame_with_a_mask(self, proc_output):
        proc_output.assertWaitFor("active: segmenting /camera/image_raw", timeout=DEADLINE_S)
        masks = []
        self.node.create_subscription(Image, "/segmentation/output/mask", masks.append, 1)
        camera = self.node.create_publisher(Image, "/camera/image_raw", qos_profile_sensor_data)
        frame = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=3 * WIDTH, data=bytes(3 * HEIGHT * WIDTH))
        end = time.monotonic() + DEADLINE_S
        while not masks:
            assert time.monotonic() < end, "no mask arrived"
            frame.header.stamp = self.node.get_clock().now().to_msg()
            camera.publish(frame)
            rclpy.spin_once(self.node, timeout_sec=0.2)
        assert (masks[0].height, masks[0].width, masks[0].encoding) == (HEIGHT, WIDTH, "mono8")


@launch_testing.post_shutdown_test()
class TestEnded(unittest.TestCase):
    def test_the_node_ends_with_status_0(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
