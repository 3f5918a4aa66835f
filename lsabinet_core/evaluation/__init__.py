"""Figures of merit: confusion matrix and IoU, latency percentiles, and the run over a labelled data set.

``evaluate`` and ``latency`` are imported from their modules; this file imports only what needs no network.
"""

from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import summarise_latency
from lsabinet_core.evaluation.report import Report

__all__ = ["ConfusionMatrix", "Report", "summarise_latency"]
