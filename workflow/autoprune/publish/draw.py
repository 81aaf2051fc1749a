"""Stage: one figure, from the files that its module asks for."""

import argparse
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from autoprune.core.errors import InputError, run_main
from autoprune.core.tasks import ACCURACY, worded
from autoprune.measure.table import read_metrics, score_in
from autoprune.publish import figures
from autoprune.publish.items import items, known, place
from autoprune.publish.plotting import save, use_theme
from autoprune.publish.spots import reworded


def figure(name: str, **inputs: Any) -> Figure:
    """A figure of its ``inputs``: metrics as a table, other files as paths.

    Raises InputError when its module returns no figure, and as that does.
    """
    use_theme()
    drawn = figures.load(name).draw(**inputs)
    if not isinstance(drawn, Figure):
        raise InputError(
            f"{place('figures', name)}: draw() returned {type(drawn).__name__}, expected a Figure "
            "of matplotlib"
        )
    return drawn


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``, and ``FIGURE --help``."""
    made = items("figures")
    parser = argparse.ArgumentParser("autoprune.publish.draw", description=__doc__, add_help=False)
    parser.add_argument("figure", nargs="?", default="", help=f"one of {', '.join(made)}")
    name = parser.parse_known_args(argv)[0].figure
    inputs = made[known("figures", name)].inputs if name else {}
    for flag, pattern in inputs.items():
        many = {"nargs": "*", "default": []} if "{" in pattern else {"required": True}
        parser.add_argument(f"--{flag.replace('_', '-')}", metavar="FILE", help=pattern, **many)
    for form in ("svg", "pdf"):
        parser.add_argument(f"--{form}", required=True, help="output")
    parser.add_argument("-h", "--help", action="help", help="show this")
    arguments = parser.parse_args(argv)
    given = {flag: getattr(arguments, flag) for flag in inputs}
    if "metrics" in given:
        given["metrics"] = read_metrics(given["metrics"])
    drawn = figure(name, **given)
    if "metrics" in given and (score := score_in(given["metrics"])) != ACCURACY:
        for text in drawn.findobj(Text):
            text.set_text(worded(text.get_text(), score))
        reworded(drawn, lambda text: worded(text, score))
    save(drawn, arguments.svg, arguments.pdf)


if __name__ == "__main__":
    run_main(main)
