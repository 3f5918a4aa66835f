#!/usr/bin/env bash
# Run a command in the sourced workspace.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ros2_ws/install/setup.bash
exec "$@"
