"""The form of a network that engines run: made once from a checkpoint, the same answers with less work.

Batch normalisations are folded into the convolutions before them or become one multiply-add, the frame's normalisation
is part of the network, and poolings whose windows depend on the input's size are spelled out for one size.
"""

from .network import FORM, DeployedNetwork

__all__ = ["FORM", "DeployedNetwork"]
