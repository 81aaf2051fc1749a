"""Convolutions in groups stay whole, and so does what feeds them; what does not is pruned."""

import pytest
import torch
from law import assert_law, gone, shaken
from torch import nn

import autoprune
from autoprune.core.errors import InputError


def grouped():
    return shaken(
        nn.Sequential(
            nn.Conv2d(1, 6, 3),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, groups=2),
            nn.ReLU(),
            nn.Conv2d(8, 5, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 3),
        )
    )


def test_groups_are_refused_by_name_and_the_rest_is_cut():
    example = torch.zeros(1, 1, 9, 9)
    assert autoprune.prunable(grouped(), example) == {"4": 5}
    for layer in ("0", "2"):
        with pytest.raises(InputError, match=f"layer {layer}: .*convolution in 2 groups"):
            autoprune.shrink(grouped(), example, {layer: [0, 1]})
    assert_law(grouped(), example, {"4": [0, 3]}, {"4": gone([0, 3], 5)})
