"""A network by the function that makes it, written as a call: module:function(name=value)."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.core.errors import InputError

CALL = re.compile(
    r"(?P<module>[\w.]+):(?P<function>\w+)(\((?P<arguments>.*)\))?(?P<linear>\+linear)?"
)


@dataclass(frozen=True)
class Call:
    """A function of a module with arguments of plain values; ``mypkg.net:build(depth=3)``.

    torchvision's networks are ``torchvision:mobilenet_v2``. ``linear``, written as ``+linear``
    behind the call, says that linear layers lose units as convolutions lose filters.
    """

    module: str
    function: str
    arguments: Mapping[str, Any]
    linear: bool = False

    def __str__(self) -> str:
        """The call as it is written; ``parse`` is the inverse."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return (
            f"{self.module}:{self.function}{f'({given})' if given else ''}"
            f"{'+linear' if self.linear else ''}"
        )

    @staticmethod
    def parse(text: str) -> "Call":
        """From its written form; raises InputError for another."""
        found = CALL.fullmatch(text)
        if not found:
            raise InputError(
                f"network: found {text!r}, expected module:function, "
                "module:function(name=value, ...) or torchvision:NAME"
            )
        wrong = InputError(
            f"network: {text!r}: found the arguments ({found['arguments']}), expected name=value, "
            "the values plain ones"
        )
        try:
            call = ast.parse(f"f({found['arguments'] or ''})", mode="eval").body
            if (
                not isinstance(call, ast.Call)
                or call.args
                or None in {w.arg for w in call.keywords}
            ):
                raise wrong
            arguments = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise wrong from None
        return Call(found["module"], found["function"], arguments, bool(found["linear"]))


def is_call(family: str) -> bool:
    """Whether a network is made by a function, and not of a family of this package."""
    return ":" in family
