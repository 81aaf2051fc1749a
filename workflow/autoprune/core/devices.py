"""The setting that says where a run computes."""

from typing import Annotated, Literal

from pydantic import Field

from autoprune.core.options import measured

Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Field(
        json_schema_extra=measured("device", cpu=0, cuda=1),
        description="Where clients train and networks are evaluated: `cpu`; `cuda`, an NVIDIA "
        "GPU, without which nothing runs; or `auto`, a GPU where the run finds one. Another device "
        "gives other last digits, so a run is of the device that it used: run.json holds it as if "
        "it had been set, environment.json and `verify` name the GPU. Where `auto` stands, runs "
        "that are there are not made again on a machine where it would now be another device "
        "(`docs/how-to/on-a-gpu.md`).",
    ),
]
