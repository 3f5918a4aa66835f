"""Networks of the zoo against pytorchcv's, built independently: the same weights must give the same logits.

Compared before the last bilinear upsampling, where pytorchcv aligns corner pixels and lsabinet pixel centres.
"""

import pytest
import torch
from torch import Tensor, nn

from lsabinet_core.models.dabnet import DABNet
