"""Bags: make, inspect, play and evaluate them, without a ROS distribution."""
