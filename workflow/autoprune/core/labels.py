"""How results are named: labels of data sets, models and arms, and numbers as text."""

from collections.abc import Iterable

# One lookup for every table and figure. What is not listed is shown under its own name, so a
# new method or data set needs no entry here.
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
    "dense/fedavg": "dense (FedAvg)",
    "autoprune/reinit": "autoprune, fresh weights",
    "autoprune/inherit": "autoprune, kept weights",
    "autoprune/reinit-once": "autoprune, fresh at the end",
    "autoprune/rewind": "autoprune, initial weights",
    "autoprune/rewind-once": "autoprune, initial at the end",
    "autoprune/inherit-low": "autoprune, kept weights, low tail",
    "found-widths/reinit": "found widths, from scratch",
    "found-widths/inherit": "kept weights' widths from scratch",
    "narrow/reinit": "narrow, from scratch",
    "narrow/inherit": "narrow, kept weights' size",
    "null-norms/reinit": "random norms, fresh weights",
    "null-norms/inherit": "random norms, kept weights",
    "random-filters/inherit": "random filters, kept weights",
    "random-filters/inherit-low": "random filters, low tail's widths",
    "l1-uniform/one-shot": "L1 norm, one shot",
    "l1-uniform/classical": "L1 norm, trained then pruned",
    "l1-uniform/iterative": "L1 norm, iterative",
    "fpgm/one-shot": "FPGM, one shot",
    "fpgm/classical": "FPGM, trained then pruned",
    "fpgm/iterative": "FPGM, iterative",
    "slimming/one-shot": "slimming, one shot",
    "slimming/classical": "slimming, trained then pruned",
    "slimming/iterative": "slimming, iterative",
    "taylor/one-shot": "Taylor, one shot",
    "taylor/classical": "Taylor, trained then pruned",
    "taylor/iterative": "Taylor, iterative",
    "fedmap/global": "FedMap-like",
    "prunefl/adaptive": "PruneFL-like",
    "ssfl/one-shot": "SSFL",
    "l1-int8/iterative": "L1 norm and int8",
    # one change at a time, behind what is compared
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
