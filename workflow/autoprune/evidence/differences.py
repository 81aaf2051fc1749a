"""In what methods are not as their sources have them, in sentences for those who read a table."""

from collections.abc import Iterable

from autoprune.core.labels import LABELS, METHODS, differs


def method_label(method: str) -> str:
    """The readable form of a method without a variant: "Taylor" of "Taylor, one shot"."""
    own = (text for name, text in LABELS.items() if name.startswith(f"{method}/"))
    return next(own, method).split(",")[0]


def differences_note(methods: Iterable[str]) -> list[str]:
    """A sentence for each of these methods that differs from its source, in the order of labels.

    Those that are none of this package's have nothing to say.
    """
    wanted = set(methods)
    known = dict.fromkeys([*(name.split("/")[0] for name in LABELS), *METHODS])
    texts = {name: differs(name) for name in known if name in wanted and name in METHODS}
    return [
        f"{method_label(name)} differs from its source: {text}."
        for name, text in texts.items()
        if text
    ]
