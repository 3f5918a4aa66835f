"""Frames in, masks out: the one entry that the node, the commands, the evaluation and the benchmark share."""

from lsabinet_core.inference.segmenter import Segmentation, Segmenter, Timings

__all__ = ["Segmentation", "Segmenter", "Timings"]
