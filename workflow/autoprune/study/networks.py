"""Networks that a function makes, as the configuration names them."""

from typing import Any, Self

from pydantic import Field, model_validator

from autoprune.core.block import Block, wrong
from autoprune.core.calls import Call
from autoprune.federation.settings import read_call

UNSET: Any = None  # of a key that may be left out, but not set to nothing


class FromFunction(Block):
    """A network that a function makes, instead of a family of this project.

    What can be pruned of it is found by running it and by cutting it in half; a layer that cannot
    be is named before training.
    """

    torchvision: str = Field(
        UNSET, description="A network of torchvision.models, such as `mobilenet_v2`."
    )
    factory: str = Field(
        UNSET,
        description="Or a function of your own, as `module:function`; it is called with "
        "`input_shape`, `classes` and `args`, and gives a `torch.nn.Module`.",
    )
    args: dict[str, Any] = Field(
        UNSET, description="More arguments for the function, plain values by name."
    )
    linear: bool = Field(
        False, description="Whether linear layers lose units as convolutions lose filters."
    )

    @model_validator(mode="after")
    def _of_one_function(self) -> Self:
        """One of the two names a function."""
        if (self.torchvision is None) is (self.factory is None):
            raise wrong("expected one of the keys torchvision, factory")
        str(self.call)  # refuses what is no function's name
        return self

    @property
    def call(self) -> Call:
        """The function's call."""
        where = f"torchvision:{self.torchvision}" if self.factory is None else self.factory
        found = read_call(where)
        return Call(found.module, found.function, self.args or {}, self.linear)
