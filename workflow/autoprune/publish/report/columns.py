"""The columns of the report's tables: a text to read, a key to sort by, and what is behind."""

from collections.abc import Callable
from typing import NamedTuple

from autoprune.core.labels import arm_label, by_layer, dataset_label, decimal, label
from autoprune.evidence.statistics import Summary
from autoprune.evidence.texts import remarks, with_interval, with_spread

Row = dict[str, str]


class Column(NamedTuple):
    """A column of the report: how it is read from a row of a table's CSV."""

    title: str
    text: Callable[[Row], str]
    key: Callable[[Row], float | str | None] | None = None  # to sort by; the text itself if None
    columns: tuple[str, ...] = ()  # of the CSV
    files: tuple[str, ...] = ()  # of a run, that hold the number; none: a word, not a number
    facet: bool = False  # whether a reader may choose among its values


class Table(NamedTuple):
    """A table of the report."""

    name: str
    title: str
    intro: str
    columns: tuple[Column, ...]


def value(row: Row, name: str) -> float | None:
    """A number of a row, None where the cell is empty."""
    return float(row[name]) if row[name] != "" else None


def summary(row: Row, name: str, scale: float = 1) -> Summary:
    """The five columns ``name_n`` ... ``name_high`` of results.csv."""
    parts = [value(row, f"{name}_{part}") for part in ("mean", "sd", "low", "high")]
    scaled = [None if part is None else scale * part for part in parts]
    return Summary(int(row[f"{name}_n"] or 0), *scaled)


def _number(row: Row, name: str, places: int, scale: float = 1, sign: bool = False) -> str:
    number = value(row, name)
    return decimal(None if number is None else scale * number, places, sign)


def _counted(title: str, name: str, files: str) -> Column:
    """A count and what it is less than the dense network's, as in the results table."""

    def text(row: Row) -> str:
        less = value(row, f"{name}_reduction_percent_mean")
        change = "" if less is None else f" ({decimal(-less, 1, sign=True)} %)"
        return _number(row, f"{name}_mean", 0) + change

    columns = (f"{name}_mean", f"{name}_reduction_percent_mean")
    return Column(title, text, lambda row: value(row, columns[0]), columns, (files,))


def _sent(title: str, name: str, factor: str) -> Column:
    """Megabytes in all, and how many times less than the dense run's."""
    columns = (f"{name}_mean", f"{factor}_mean")

    def text(row: Row) -> str:
        less = f" (÷ {_number(row, columns[1], 2)})" if row[columns[1]] else ""
        return _number(row, columns[0], 2, 1e-6) + less

    return Column(title, text, lambda row: value(row, columns[0]), columns, ("history.csv",))


def _interval(row: Row, middle: str, low: str, high: str, unit: str = "", sign: bool = True) -> str:
    count = int(float(row["n"] or 0))
    parts = Summary(count, value(row, middle), None, value(row, low), value(row, high))
    return with_interval(parts, sign=sign, unit=unit)


def _p(row: Row) -> str:
    return "–" if row["p_adjusted"] == "" else f"{float(row['p_adjusted']):.3f}"


DATA = Column(
    "data",
    lambda row: dataset_label(row["dataset"], row["data_kind"]),
    None,
    ("dataset",),
    (),
    True,
)
MODEL = Column("model", lambda row: label(row["model"]), None, ("model",), (), True)
METHOD = Column(
    "method", lambda row: arm_label(row["method"], row["variant"]), None, ("method", "variant")
)
P = Column("p", _p, lambda row: value(row, "p_adjusted"), ("p_adjusted",), ("evaluation.json",))
RESULTS = Table(
    "results",
    "Results",
    "Accuracy on validation and test images together: mean ± sample standard deviation over seeds. "
    "Changes are against the dense run of the same data, model and seed, with a 95 % t-interval "
    "that no correction widens: for whether methods differ see the controls. Payload is the "
    "numbers in what is sent, without their wrapping. Live filters fire on any of 2,000 training "
    "images; by layer.",
    (
        DATA,
        MODEL,
        METHOD,
        Column(
            "accuracy, %",
            lambda row: with_spread(summary(row, "accuracy", 100)),
            lambda row: value(row, "accuracy_mean"),
            ("accuracy_mean", "accuracy_sd"),
            ("evaluation.json", "history.csv"),
        ),
        Column(
            "against dense, points",
            lambda row: with_interval(summary(row, "accuracy_change_points"), sign=True),
            lambda row: value(row, "accuracy_change_points_mean"),
            tuple(f"accuracy_change_points_{part}" for part in ("mean", "low", "high")),
            ("evaluation.json", "history.csv"),
        ),
        _counted("parameters", "parameters", "complexity.json"),
        _counted("MACs", "macs", "complexity.json"),
        _counted("FLOPs (TF profiler)", "flops_tf_profiler", "complexity.json"),
        _sent("MB sent", "bytes_total", "communication_factor"),
        _sent("MB of payload", "payload_total", "communication_factor_payload"),
        Column(
            "live filters",
            lambda row: by_layer(row["live_filters"]),
            columns=("live_filters",),
            files=("history.csv",),
        ),
    ),
)
COMPARISONS = Table(
    "comparisons",
    "Controls",
    "Each method minus the paper's, seed by seed, in points of accuracy on validation and test "
    "images together: at equal rounds, at equal training rounds and at equal bytes. Intervals and "
    "p are simultaneous for all comparisons of a data set and network.",
    (
        DATA,
        MODEL,
        METHOD,
        Column("read at", lambda row: row["question"], None, ("question",), (), True),
        Column(
            "difference, points",
            lambda row: _interval(row, "difference_points", "difference_low", "difference_high"),
            lambda row: value(row, "difference_points"),
            ("difference_points", "difference_low", "difference_high"),
            ("evaluation.json", "history.csv"),
        ),
        Column(
            "p", _p, lambda row: value(row, "p_adjusted"), ("p_adjusted",), ("evaluation.json",)
        ),
        Column("answer", lambda row: row["answer"] or "–", None, ("answer",), (), True),
        Column(
            "accuracy, %",
            lambda row: (
                _number(row, "accuracy_percent", 2)
                + remarks(row["still_rising"], int(row["dead_runs"]), int(row["accuracy_n"]))
            ),
            lambda row: value(row, "accuracy_percent"),
            ("accuracy_percent",),
            ("evaluation.json", "history.csv"),
        ),
        Column(
            "numbers sent",
            lambda row: _number(row, "nonzeros", 0),
            lambda row: value(row, "nonzeros"),
            ("nonzeros",),
            ("evaluation.json",),
        ),
        Column(
            "of the budget, %",
            lambda row: _number(row, "share_of_budget", 0, 100),
            lambda row: value(row, "share_of_budget"),
            ("share_of_budget",),
            ("evaluation.json",),
        ),
        Column(
            "MB sent",
            lambda row: _number(row, "bytes_total", 2, 1e-6),
            lambda row: value(row, "bytes_total"),
            ("bytes_total",),
            ("history.csv",),
        ),
    ),
)
ABLATIONS = Table(
    "ablations",
    "Ablations",
    "The accidents of the authors' notebooks, one change at a time.",
    (
        Column("ablation", lambda row: row["ablation"], None, ("ablation",), (), True),
        Column("with", lambda row: row["with"], None, ("with",)),
        Column("without", lambda row: row["without"], None, ("without",)),
        Column(
            "change, points",
            lambda row: _interval(row, "difference_points", "difference_low", "difference_high"),
            lambda row: value(row, "difference_points"),
            ("difference_points", "difference_low", "difference_high"),
            ("evaluation.json",),
        ),
        Column(
            "p", _p, lambda row: value(row, "p_adjusted"), ("p_adjusted",), ("evaluation.json",)
        ),
    ),
)


def _measured(title: str, middle: str, low: str, high: str, places: int) -> Column:
    """A time or a ratio of times with the range beside it."""

    def text(row: Row) -> str:
        number = value(row, middle)
        if number is None or value(row, low) is None:
            return decimal(number, places)
        return (
            f"{decimal(number, places)} [{_number(row, low, places)}, {_number(row, high, places)}]"
        )

    return Column(title, text, lambda row: value(row, middle), (middle, low, high), ("run.json",))


def _widths(row: Row) -> str:
    """The widths, and to which multiple they were rounded for deployment."""
    multiple = row["round_widths_to"]
    note = f" (multiples of {decimal(float(multiple), 0)})" if multiple else ""
    return (row["widths"] or "–") + note


LATENCY = Table(
    "latency",
    "Latency",
    "One inference of a pruned network beside its dense twin. A host proxy is the machine that ran "
    "the study: it stands in for a phone and says nothing of one.",
    (
        Column(
            "measured on", lambda row: row["kind"].replace("_", " "), None, ("kind",), facet=True
        ),
        Column("device", lambda row: row["device"], None, ("device",)),
        Column(
            "data",
            lambda row: dataset_label(row["dataset"], row["data_kind"]) or "–",
            columns=("dataset",),
        ),
        Column("model", lambda row: label(row["model"]) or row["model_id"], None, ("model",)),
        Column("method", METHOD.text, None, METHOD.columns),
        Column("seed", lambda row: row["seed"] or "–", None, ("seed",)),
        Column(
            "precision", lambda row: row["precision"], columns=("format", "precision"), facet=True
        ),
        Column("widths", _widths, columns=("widths", "round_widths_to")),
        _measured("latency, ms", "median_ms", "least_ms", "most_ms", 3),
        _measured("speed-up", "speed_up", "low", "high", 2),
        Column(
            "MACs, dense / own",
            lambda row: _number(row, "macs_factor", 2),
            lambda row: value(row, "macs_factor"),
            ("macs_dense", "macs"),
            ("complexity.json",),
        ),
        Column("measured with", lambda row: row["engine"], columns=("engine", "threads")),
    ),
)
TABLES = {table.name: table for table in (RESULTS, COMPARISONS, ABLATIONS, LATENCY)}
