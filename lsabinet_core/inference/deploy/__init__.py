"""The deployed form of a network, which engines run: same outputs, less work; converted once per checkpoint.

Batch normalisations are folded into the preceding convolutions or become one multiply-add, the frame's normalisation is
part of the network, and size-dependent operators are replaced by basic ones for one size, or for any.
"""

from .depthwise import split_depthwise
from .network import FORM, DeployedNetwork, MaskNetwork, network_for_files

__all__ = ["FORM", "DeployedNetwork", "MaskNetwork", "network_for_files", "split_depthwise"]
