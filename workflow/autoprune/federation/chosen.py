"""Classes of other libraries that settings choose by name: how they are written, read, refused.

Loads none of those libraries: the module that knows one is asked only where something is chosen.
"""

import importlib
import inspect
import json
import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import AfterValidator

from autoprune.core.block import wrong
from autoprune.core.errors import InputError
from autoprune.core.refusal import unknown

CHOICES = ("optimizer", "schedule", "server", "augmentation")  # settings that are of this kind


def written(choice: Any) -> str:
    """A choice as Flower's run configuration has it, which knows no mappings: JSON."""
    return json.dumps(choice, separators=(",", ":"))


def unwritten(given: Any) -> Any:
    """The inverse of ``written``; what is no text stays as it is."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        raise wrong(f"found {given!r}, expected a mapping or a list, or JSON of one") from None


def checked_by(module: str, function: str) -> AfterValidator:
    """A validator that asks a function of a module of this room, loaded where something is chosen.

    What it returns is what the setting becomes: a choice that is the default is none.
    """

    @lru_cache(maxsize=64)  # a client reads its settings with every message
    def asked(choice: str) -> str:
        # by name: a study's configuration is read without torch and flwr where it needs neither
        known = importlib.import_module(f"autoprune.federation.{module}")
        return written(getattr(known, function)(json.loads(choice)))

    def check(choice: Any) -> Any:
        if not choice:
            return choice
        try:
            return json.loads(asked(written(choice)))
        except InputError as error:
            raise wrong(str(error)) from None

    return AfterValidator(check)


def parts(choice: Mapping[str, Any], key: str = "name") -> tuple[str, dict[str, Any]]:
    """(name, arguments) of ``{name: SGD, momentum: 0.9}``; raises InputError without a name."""
    if not isinstance(choice.get(key), str):
        raise InputError(f"key {key!r} is missing, the name of what is chosen")
    return choice[key], {name: value for name, value in choice.items() if name != key}


def pick(what: str, name: str, known: Mapping[str, type], refused: Mapping[str, str]) -> type:
    """The class of this name; raises InputError for one that is refused, with the reason."""
    if name in refused:
        raise InputError(f"{what} {name}: {refused[name]}")
    if name not in known:
        raise InputError(unknown(what, name, known))
    return known[name]


def fit(kind: type, given: Mapping[str, Any], taken: Mapping[str, str]) -> None:
    """Raise InputError unless a class takes these arguments, by its signature and its defaults.

    ``taken`` are those that are not the user's to give, each with the reason. Values are compared
    with the kind of their defaults; what the class itself thinks of them ``make`` says.
    """
    parameters = inspect.signature(kind).parameters
    known = [name for name in parameters if name not in taken]
    for name, value in given.items():
        if name in parameters and name in taken:
            raise InputError(f"{kind.__name__}: {name} cannot be given: {taken[name]}")
        if name not in known:
            raise InputError(f"{kind.__name__}: {unknown('argument', name, known)}")
        if why := _unlike(value, parameters[name].default):
            raise InputError(f"{kind.__name__}: {name}: found {value!r}, expected {why}")
    for name in known:
        if parameters[name].default is inspect.Parameter.empty and name not in given:
            raise InputError(f"{kind.__name__}: argument {name!r} is missing")


def _unlike(value: Any, default: Any) -> str:
    """What kind of value an argument wants, where this one is of another; "" where it is not."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, float) and not math.isfinite(one) for one in values):
        return "finite numbers"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, int | float):
        return "" if number else "a number"
    if isinstance(default, tuple):
        right = isinstance(value, Sequence) and not isinstance(value, str)
        return "" if right and len(value) == len(default) else f"a list of {len(default)}"
    return ""


def make(kind: type, *first: Any, **given: Any) -> Any:
    """The class' object; raises InputError with what it says of its arguments. Lists are tuples."""
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
    try:
        return kind(*first, **given)
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise InputError(f"{kind.__name__}: {' '.join(str(error).split())}") from None


def subclasses(module: Any, of: type, but: Collection[str] = ()) -> dict[str, type]:
    """The classes of a module that are of a kind, by name, sorted."""
    found = {n: c for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, of)}
    return {name: found[name] for name in sorted(found) if name not in but and name[0] != "_"}
