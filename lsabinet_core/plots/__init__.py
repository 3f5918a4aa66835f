"""Figures for people: curves, confusion, calibration (matplotlib), sample grids and comparisons of networks (OpenCV).

Every ``draw_...`` function takes the path first and writes the file atomically. They know arrays and names, not runs,
so that training, evaluation and the command line share them.
"""
