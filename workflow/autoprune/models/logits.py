"""The last step of a written-out backward pass: a linear layer and its cross-entropy."""

import torch
from torch import Tensor, nn

from autoprune.models.layers import gradient

aten = torch.ops.aten
MEAN, NO_LABEL = 1, -100  # the loss' reduction and its label to ignore, at torch's defaults


def cross_entropy(linear: nn.Linear, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss () of a batch and its gradient by ``features`` (batch, feature), in their dtype.

    ``labels`` (batch,) int64. Adds the layer's own gradients to what is there. The same operators
    as autograd's, and so the same bits.
    """
    matrix = linear.weight.to(features.dtype)
    logits = torch.addmm(linear.bias.to(features.dtype), features, matrix.t())
    shares = logits.float().log_softmax(1)
    loss, count = aten.nll_loss_forward(shares, labels, None, MEAN, NO_LABEL)

    slope = aten.nll_loss_backward(
        torch.ones_like(loss), shares, labels, None, MEAN, NO_LABEL, count
    )
    slope = aten._log_softmax_backward_data(slope, shares, 1, torch.float32).to(features.dtype)
    gradient(linear.weight).add_(slope.t() @ features)
    gradient(linear.bias).add_(slope.sum(0))
    return loss, slope @ matrix
