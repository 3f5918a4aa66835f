"""Figures of merit: confusion matrix and IoU, boundaries, calibration, latency, and the run over a labelled data set.

``evaluate``, ``augmented``, ``submission`` and ``latency`` are imported from their modules; this file imports only what
needs no network.
"""

from lsabinet_core.evaluation.boundaries import BoundaryScore
from lsabinet_core.evaluation.calibration import Calibration
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import summarise_latency
from lsabinet_core.evaluation.report import Report

__all__ = ["BoundaryScore", "Calibration", "ConfusionMatrix", "Report", "summarise_latency"]
