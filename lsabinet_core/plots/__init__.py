"""Figures: curves, confusion matrix, calibration (matplotlib), sample sheets and network comparisons (OpenCV).

Every ``draw_...`` function takes the path as its first argument and writes the file atomically. The functions take
arrays and names rather than runs, so that training, evaluation and the CLI can share them.
"""
