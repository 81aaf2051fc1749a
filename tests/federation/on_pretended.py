"""A run of ``autoprune.federation`` with these flags, on the pretended device or the processor.

``python on_pretended.py pretended|cpu FLAGS``. On the processor gradients are autograd's, as they
are on a device.
"""

import sys
from contextlib import nullcontext

import pretended
import torch

from autoprune.federation import __main__ as federation
from autoprune.federation import device, identity, training
from autoprune.models.cnn import Cnn
from autoprune.models.layers import Network
from autoprune.models.resnet import ResNet


def start(name):
    """``device.start``, of which there is none of here."""
    return pretended.device() if name == device.CUDA else device.CPU


if __name__ == "__main__":
    Cnn.backward = ResNet.backward = Network.backward
    device.start, device.resolved = start, str
    training.move = device.move = pretended.move
    device.facts = identity.device.facts = lambda name: {}
    mode = pretended.Pretended() if sys.argv[1] == "pretended" else nullcontext()
    with mode:
        federation.main(sys.argv[2:])
    assert not torch.cuda.is_initialized()
