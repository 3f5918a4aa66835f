"""The form of a network that engines run: made once from a checkpoint, the same answers with less work.

Batch normalisations are folded into the convolutions before them or become one multiply-add, the frame's normalisation
is part of the network, and what depends on the input's size is spelled out for one size.
"""

from .depthwise import split_depthwise
from .network import FORM, DeployedNetwork, MaskNetwork, static_network

__all__ = ["FORM", "DeployedNetwork", "MaskNetwork", "split_depthwise", "static_network"]
