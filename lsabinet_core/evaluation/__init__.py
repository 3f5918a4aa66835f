"""Evaluation metrics: confusion matrix and IoU, boundary F-score, calibration, latency; evaluation of a data set.

This file imports only what works without a network. Import ``evaluate``, ``augmented`` and ``submission`` from their
modules.
"""

from lsabinet_core.evaluation.boundaries import BoundaryScore
from lsabinet_core.evaluation.calibration import Calibration
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import summarise_latency
from lsabinet_core.evaluation.report import Report

__all__ = ["BoundaryScore", "Calibration", "ConfusionMatrix", "Report", "summarise_latency"]
