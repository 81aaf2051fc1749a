"""The settings of the paper's rule; without torch, so that a configuration can be checked."""

from typing import Literal

from pydantic import Field

from autoprune.core.block import Block
from autoprune.core.options import measured


class Rule(Block):
    """Settings of the method autoprune on this pair, and of null-norms."""

    k: float = Field(
        gt=0,
        json_schema_extra=measured("k"),
        description="Half-width of the boundaries, standard deviations.",
    )
    patience: int = Field(
        ge=1,
        json_schema_extra=measured("patience"),
        description="Applications of the rule in a row without a smaller network, after which the "
        "search stops.",
    )
    cap: int = Field(
        ge=1,
        json_schema_extra=measured("cap"),
        description="Applications of the rule at most, one a round from the second on.",
    )
    tails: Literal["both", "low"] = Field(
        "both",
        description="Which filters go: those outside `both` boundaries, or below the `low` one "
        "alone.",
    )
    statistics: Literal["layer", "pooled"] = Field(
        "layer",
        description="Mean and standard deviation of each `layer`, or `pooled` over all, of norms "
        "per weight.",
    )
