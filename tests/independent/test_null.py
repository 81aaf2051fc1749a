"""The nulls of the product are those of a plain simulation, and of method.md's table."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from autoprune.measure import nulls
from autoprune.models import Architecture
from independent import plain_null

DRAWS = 300
K = {"cnn": 2.2, "resnet": 2.0}
INPUTS = {"cnn": ((1, 28, 28), 62), "resnet": ((3, 84, 84), 2)}
# medians of 300 draws in method.md's null control
TABLE = {
    ("cnn", "fresh"): 7_540,
    ("cnn", "kept"): 32_535,
    ("resnet", "fresh"): 2_287,
    ("resnet", "kept"): 5_292,
}
# Two medians of as many draws differ by sqrt(2) standard errors of one; at this many of those an
# honest pair differs more once in 15,000 times.
ERRORS = 4


@pytest.fixture(scope="module")
def plain():
    """Final sizes (draw,) of the plain simulation, by network and null."""
    return {
        (network, null): plain_null.final_sizes(network, null, DRAWS, 0, K[network], 3, 50)
        for network, null in TABLE
    }


@pytest.mark.parametrize(("network", "parameters"), [("cnn", 56_126), ("resnet", 30_626)])
def test_the_plain_simulation_counts_as_keras_does(network, parameters):
    _, size, widths = plain_null.NETWORKS[network]
    assert size(*widths) == parameters  # method.md's


@pytest.mark.parametrize(("network", "null"), TABLE)
def test_medians_are_the_tables(plain, network, null):
    sizes = plain[network, null]
    allowed = ERRORS * np.sqrt(2) * plain_null.median_error(sizes, 0)
    assert abs(np.median(sizes) - TABLE[network, null]) <= allowed


@pytest.mark.parametrize(("network", "null"), TABLE)
def test_the_product_draws_the_same_sizes(plain, network, null):
    shape, classes = INPUTS[network]
    base = Architecture(network, plain_null.NETWORKS[network][2], shape, classes)
    sizes = nulls.final_sizes(base, null, DRAWS, 0, K[network], 3, 50)
    expected = plain[network, null]
    assert len(sizes) == DRAWS
    allowed = ERRORS * np.hypot(
        plain_null.median_error(sizes, 0), plain_null.median_error(expected, 1)
    )
    assert abs(np.median(sizes) - np.median(expected)) <= allowed
    assert ks_2samp(sizes, expected).pvalue > 1e-4  # and all of the distribution, not its middle
