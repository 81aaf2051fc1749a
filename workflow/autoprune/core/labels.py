"""How results are named: labels of data sets, models and arms, and numbers as text."""

from collections.abc import Iterable
from typing import Any

from autoprune.core.provenance import declared, methods

METHODS = [module.replace("_", "-") for module in methods()]
# in which order tables and figures have them; others follow by name
ORDER = (
    *("dense", "autoprune", "found-widths", "narrow", "null-norms", "random-filters"),
    *("l1-uniform", "fpgm", "slimming", "taylor", "fedmap", "prunefl", "ssfl", "l1-int8"),
)


def said(method: str, name: str) -> Any:
    """What the class of a method says of itself, e.g. its ``labels``; None where it says nothing.

    Read from its file, as importing it would take a second of torch.
    """
    return declared("methods", method.replace("-", "_"), name)


def differs(method: str) -> str:
    """In what a method is not as its source has it, a sentence without its dot; "" for nothing."""
    return said(method, "differs") or ""


# One lookup for every table and figure. What is not listed is shown under its own name, so a
# new method or data set needs no entry here; a method's labels stand in its own file.
LABELS = {
    "femnist": "FEMNIST",
    "femnist_cropped": "FEMNIST cropped",
    "femnist_inverted": "FEMNIST light on dark",
    "femnist_raw": "FEMNIST raw pixels",
    "femnist_standardised": "FEMNIST standardised",
    "femnist_whole": "FEMNIST whole",
    "celeba": "CelebA",
    "celeba_smiling": "CelebA Smiling",
    "faces_male": "faces Male",
    "mnist": "MNIST",
    "unipen": "UNIPEN",
    "cnn": "CNN",
    "resnet": "ResNet",
    "inception": "Inception",
    "cnn1d": "1-d CNN",
    **{
        f"{method}/{variant}": text
        for method in dict.fromkeys([*(name for name in ORDER if name in METHODS), *METHODS])
        for variant, text in (said(method, "labels") or {}).items()
    },
    # variants of our studies, one change at a time, behind what is compared
    "autoprune/pooled": "autoprune, all layers pooled",
    "autoprune/carried": "autoprune, Adam carried",
    "dense/carried": "dense, Adam carried",
    **{f"autoprune/clients-{n}": f"autoprune, {n} clients" for n in (10, 20)},
    **{f"dense/clients-{n}": f"dense, {n} clients" for n in (10, 20)},
    **{
        f"autoprune/k{k}-p{patience}": f"autoprune, k {k}, patience {patience}"
        for k in (1.6, 2.2, 2.8)
        for patience in (1, 3, 5)
    },
    **{f"autoprune/k{k}": f"autoprune, k {k}" for k in (1.7, 1.8, 1.9, 2.6)},
    **{
        f"{method}/{of}-{size}": f"{method}, {size} {of}"
        for of, sizes in {
            "macs": ("1m", "500k", "250k", "100k"),
            "parameters": ("80k", "20k", "12k"),
            "bytes": ("300k", "60k"),
            "latency": ("long", "short"),
        }.items()
        for size in sizes
        for method in ("autoprune", "narrow")
    },
}
MINUS = "\N{MINUS SIGN}"
STAND_IN = " (stand-in)"  # beside the name of a data set that stands in for another


def label(name: str) -> str:
    """The readable form of a data set, model or ``method/variant``; the name itself if unknown."""
    return LABELS.get(name, name)


def arm_label(method: str, variant: str) -> str:
    """The readable form of a method and its variant."""
    return label(f"{method}/{variant}" if variant else method)


def dataset_label(dataset: str, data_kind: str) -> str:
    """The readable form of a data set, which says when it is a stand-in."""
    return label(dataset) + (STAND_IN if data_kind == "stand-in" else "")


def arm_order(arms: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Distinct (method, variant) pairs: those of LABELS in its order, then the others sorted."""
    known = list(LABELS)

    def rank(arm: tuple[str, str]) -> tuple[int, tuple[str, str]]:
        name = "/".join(arm)
        return (known.index(name) if name in known else len(known), arm)

    return sorted(set(arms), key=rank)


def decimal(value: float | None, places: int = 2, sign: bool = False) -> str:
    """A number with thousands separators and a true minus; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:{'+' if sign else ''},.{places}f}"
    if float(text.replace(",", "")) == 0:  # never "-0.00"
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def by_layer(fractions: str) -> str:
    """Fractions by layer to read, "1.00 0.34" of "1.0000 0.3412"; a dash for none."""
    return " ".join(decimal(float(part)) for part in fractions.split()) or "–"
