"""Make, inspect, play, replay, evaluate and compare bags; only play and replay need ROS."""
