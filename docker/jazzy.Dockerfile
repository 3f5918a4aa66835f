# The node on ROS 2 Jazzy, for the CPU. From the root of the repository:
#
#   docker build --tag lsabinet --file docker/jazzy.Dockerfile .
#   docker run --rm --network host --shm-size 512m lsabinet \
#       ros2 launch lsabinet_ros segment.launch.py image_topic:=/camera/image_raw
FROM ros:jazzy-ros-base

RUN apt-get update && apt-get install --yes --no-install-recommends g++ git python3-venv \
        ros-jazzy-cv-bridge ros-jazzy-vision-msgs \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ros2_ws
COPY . src/lsabinet_ros
RUN python3 -m venv --system-site-packages .venv \
    && .venv/bin/pip install --no-cache-dir --constraint src/lsabinet_ros/constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu './src/lsabinet_ros[openvino]'
ENV PATH=/ros2_ws/.venv/bin:$PATH
RUN . /opt/ros/jazzy/setup.sh && python3 -m colcon build --packages-select lsabinet_ros

ENTRYPOINT ["/ros2_ws/src/lsabinet_ros/docker/entrypoint.sh"]
CMD ["ros2", "launch", "lsabinet_ros", "segment.launch.py"]
