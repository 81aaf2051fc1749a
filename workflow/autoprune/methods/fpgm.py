"""Fixed ratio by geometric median: the filters that the others of their layer can stand for go.

Source: He et al. 2019, "Filter Pruning via Geometric Median", eq. 6, and its published code
(he-y/filter-pruning-geometric-median), with the share pruned by norm at 0.
"""

from torch import Tensor

from autoprune.methods._ratio import Uniform


class Method(Uniform):
    """A filter's score is the sum of its distances to the other filters, signs and all."""

    labels = {
        "one-shot": "FPGM, one shot",
        "classical": "FPGM, trained then pruned",
        "iterative": "FPGM, iterative",
    }

    differs = (
        "filters leave for good, where the original zeroes them, chooses anew after every epoch "
        "and cuts at the end; filters that a skip path couples go by the sum of their distances, "
        "where the original chooses in each convolution by itself"
    )

    @staticmethod
    def score(kernel: Tensor) -> list[float]:
        """Sum of Euclidean distances to all filters of the kernel, (filter,)."""
        filters = kernel.detach().double().flatten(1)
        distances = (filters[:, None] - filters[None]).square().sum(2).sqrt()
        return [float(total) for total in distances.sum(1)]
