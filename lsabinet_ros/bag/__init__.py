"""Make, inspect, play and evaluate bags; no ROS distribution is needed."""
