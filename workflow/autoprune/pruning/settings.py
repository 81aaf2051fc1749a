"""The settings of the paper's rule; without torch, so that a configuration can be checked."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from autoprune.core.block import Block, incomplete, wrong
from autoprune.core.options import measured
from autoprune.pruning.options import HOW_MUCH, TARGETS


class Rule(Block):
    """Settings of the method autoprune on this pair, and of null-norms."""

    k: float | None = Field(
        None,
        gt=0,
        json_schema_extra=measured("k"),
        description="Half-width of the boundaries, standard deviations. A target takes its place.",
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
    # one of these in place of k: flat names, as Flower's run configuration is flat, and there
    # `target` is the column that is predicted
    target_macs: float | None = Field(
        None,
        gt=0,
        json_schema_extra=measured("target_macs"),
        description="Multiply-adds of an image that the network shall have in the end, in place of "
        "k: each application takes the largest k that keeps to a schedule, and the last of `cap` "
        "lands within 5 %.",
    )
    target_parameters: float | None = Field(
        None,
        gt=0,
        json_schema_extra=measured("target_parameters"),
        description="Or its parameters, batch-norm statistics included.",
    )
    target_bytes: float | None = Field(
        None,
        gt=0,
        json_schema_extra=measured("target_bytes"),
        description="Or the bytes that one client receives and sends in a round: of the numbers, "
        "both ways, without what names and wraps them.",
    )
    target_latency_ms: float | None = Field(
        None,
        gt=0,
        json_schema_extra=measured("target_latency_ms"),
        description="Or the milliseconds of one image on a device, by `latency_table`.",
    )
    latency_table: str | None = Field(
        None,
        description="What the device needs for such networks, a file of `python -m "
        "autoprune.measure.latency_table`; nothing is timed while a run trains.",
    )
    width_multiple: int | None = Field(
        None,
        ge=1,
        description="Of which the widths that a target leads to are multiples, as a device's "
        "kernels like them (`deploy.round_widths_to`); a layer that loses nothing keeps its own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _k_gives_way(cls, given: Any) -> Any:
        """A target takes the place of the k that a pair has."""
        if not isinstance(given, dict) or all(given.get(name) is None for name in HOW_MUCH[1:]):
            return given
        return {name: value for name, value in given.items() if name != "k"}

    @model_validator(mode="after")
    def _of_k_or_a_target(self) -> Self:
        """One thing decides how much goes."""
        given = [name for name in HOW_MUCH[1:] if getattr(self, name) is not None]
        if len(given) > 1:
            raise wrong(f"found {' and '.join(given)}, expected one target")
        if not given and self.k is None:
            raise incomplete("key 'k' is missing, or a target in its place")
        if not given and (self.width_multiple or self.latency_table):
            raise wrong("width_multiple and latency_table go with a target, found none")
        if given and self.tails != "both":
            raise wrong(f"tails: found {self.tails!r} beside {given[0]}, expected both")
        if (self.latency_table is None) is (given == ["target_latency_ms"]):
            raise wrong("target_latency_ms and latency_table: expected both or neither")
        return self

    @property
    def target(self) -> tuple[str, float] | None:
        """What is aimed at, one of TARGETS, and its value; None where there is a k."""
        found = ((of, getattr(self, f"target_{of}")) for of in TARGETS)
        return next(((of, float(value)) for of, value in found if value is not None), None)
