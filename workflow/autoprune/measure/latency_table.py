"""Stage: what networks of a family need on a device at many widths, once, as a table to aim by.

On this machine: networks of drawn widths are exported and timed in turn with the whole one. Of a
phone, or of any runtime: their times by widths, as a CSV. What a target in milliseconds goes by is
fitted to that: a constant and, for each layer, its multiply-adds and its outputs, none below 0. The
file says how far it is from networks that it was not fitted to.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import sha256_file, write_json
from autoprune.core.provenance import versions
from autoprune.core.seeds import generator
from autoprune.data.store import ClientStore
from autoprune.measure import formats as exports
from autoprune.measure.latency_host import interleaved, runner
from autoprune.measure.table import read_table
from autoprune.models import Architecture, base_of, build, new_network
from autoprune.models.counts import Counts
from autoprune.pruning.latency import SCHEMA_VERSION, added, parts
from autoprune.pruning.rounding import rounded_widths

LANES = (1, 4, 8, 16)  # filters that a kernel may compute at a time
# columns of a phone's table that decide a time
ALIKE = ("session_id", "format", "precision", "delegate", "threads", "cpu_mask", "status", "model")
LEAST = 8  # networks of other widths than the whole: fewer say too little of the layers


def fits(widths: Sequence[int], base: Architecture, multiple: int) -> bool:
    """Whether each width is a multiple, or the layer's own."""
    pairs = zip(widths, base.widths, strict=True)
    return all(width % multiple == 0 or width == most for width, most in pairs)


class Row(NamedTuple):
    """A network that was timed."""

    widths: tuple[int, ...]
    milliseconds: float


def designed(
    base: Architecture, number: int, seed: int, multiple: int = 1
) -> list[tuple[int, ...]]:
    """The widths to measure: drawn alike over shares of each layer, the small ones as often.

    Each is a multiple of ``multiple``. Fewer where there are not so many.
    """
    stream, found = generator(seed, "latency-table"), dict[tuple[int, ...], None]()
    for _ in range(100 * number):
        shares = 2.0 ** -stream.uniform(0, 4, len(base.widths))
        common = 2.0 ** -stream.uniform(0, 4)
        # half of the draws narrow all layers alike, as searches do
        mixed = shares if len(found) % 2 else common * stream.uniform(0.7, 1.4, len(base.widths))
        drawn = [max(1, round(share * n)) for share, n in zip(mixed, base.widths, strict=True)]
        widths = rounded_widths(drawn, base.widths, multiple, "nearest")
        if widths != base.widths:
            found.setdefault(widths)
        if len(found) == number:
            break
    return list(found)


def timed(base: Architecture, widths: Sequence[Sequence[int]], rounds: int, form: str) -> list[Row]:
    """Each network in turn with the whole one, float32, one image, one thread; the whole one first.

    Milliseconds are the median ratio to the whole network times its own median over all: the clock
    wanders over minutes, ratios do not.
    """
    files = exports.load(form)
    facts = {"format": form, "input_layout": files.LAYOUT}
    facts["input_shape"] = _sides(base.input_shape, files.LAYOUT)
    ratios, whole = [], []
    with tempfile.TemporaryDirectory() as folder:

        def network(name: str, architecture: Architecture) -> Any:
            path = Path(folder) / f"{name}.{form}"
            files.export_fp32(new_network(architecture, 0), base.input_shape, path)
            return runner(path, facts)

        dense = network("whole", base)
        for n, some in enumerate(widths):
            pairs = interleaved(dense, network(str(n), base.with_widths(some)), rounds)
            ratios.append(statistics.median(b / a for a, b in pairs))
            whole.append(statistics.median(a for a, _ in pairs))
            print(f"{' '.join(map(str, some))}: {ratios[-1]:.3f} of the whole network", flush=True)
    typical = statistics.median(whole)
    return [
        Row(base.widths, typical),
        *(Row(tuple(w), ratio * typical) for w, ratio in zip(widths, ratios, strict=True)),
    ]


def _sides(shape: Sequence[int], layout: str) -> list[int]:
    channels, *sides = shape
    return [1, channels, *sides] if layout == "NCHW" else [1, *sides, channels]


def read_rows(path: str, base: Architecture, only: Sequence[str] = ()) -> list[Row]:
    """Times of a device by widths: a CSV with columns widths ("16 43") and median_ms.

    The table of ``phone.import_latency`` is one. Of its rows those count that have all ``only``,
    each "column=value"; in what decides a time they must be alike. Several rows of the same widths
    are one, their median. Raises InputError.
    """
    table = read_table(path, ["widths", "median_ms", *(word.partition("=")[0] for word in only)])
    for column, _, value in (word.partition("=") for word in only):
        table = table[table[column].astype(str) == value]
    for column in ALIKE:
        known = sorted(map(str, table[column].unique())) if column in table else []
        if len(known) > 1:
            raise InputError(
                f"{path}: {column}: found {', '.join(known)}; choose by --only {column}={known[0]}"
            )
    found: dict[tuple[int, ...], list[float]] = {}
    for at, text, time in zip(table.index, table["widths"], table["median_ms"], strict=True):
        words = str(text).split()
        if not all(map(str.isdecimal, words)) or len(words) != len(base.widths):
            raise InputError(
                f"{path}, row {at + 1}: widths: found {text!r}, expected {len(base.widths)} numbers"
            )
        if not isinstance(time, float | int) or not 0 < time < 1e9:
            raise InputError(f"{path}, row {at + 1}: median_ms: found {time!r}, expected a time")
        found.setdefault(tuple(map(int, words)), []).append(float(time))
    for widths in found:
        build(base.with_widths(widths))  # refuses another network's
    return [Row(widths, statistics.median(times)) for widths, times in found.items()]


def fitted(counts: Counts, rows: Sequence[Row], lanes: int) -> np.ndarray:
    """Milliseconds of each of ``latency.parts``, none below 0: least squares of relative errors."""
    times = np.array([row.milliseconds for row in rows])
    of = np.stack(parts(counts, np.array([row.widths for row in rows]), lanes), axis=1)
    found: np.ndarray = nnls(of / times[:, None], np.ones(len(rows)))[0]
    return found


def errors(counts: Counts, rows: Sequence[Row], lanes: int) -> list[float]:
    """How far each network is from a model fitted to the others, as a share of its time."""
    found = []
    for n, row in enumerate(rows):
        each = fitted(counts, [*rows[:n], *rows[n + 1 :]], lanes)
        told = float(added(parts(counts, row.widths, lanes), each.tolist()))
        found.append(told / row.milliseconds - 1)
    return found


def table_of(
    base: Architecture, rows: Sequence[Row], device: dict[str, Any], multiple: int = 1
) -> dict[str, Any]:
    """The table: of all LANES those by which networks left out are told best.

    ``multiple``: of which all widths are, so that it says nothing of others.
    """
    rows = [row for row in rows if fits(row.widths, base, multiple)]
    if len(rows) < LEAST + 1:
        raise InputError(
            f"latency table: {len(rows)} networks, expected at least {LEAST + 1}, each of other "
            "widths"
        )
    counts = Counts(base)
    off = {lanes: errors(counts, rows, lanes) for lanes in LANES}
    lanes = min(LANES, key=lambda n: (statistics.fmean(abs(e) for e in off[n]), n))
    return {
        "schema_version": SCHEMA_VERSION,
        "network": base.to_json(),
        "device": device,
        "multiple": multiple,
        "lanes": lanes,
        "milliseconds": fitted(counts, rows, lanes).tolist(),
        "left_out_error_percent": {
            "median": 100 * statistics.median(map(abs, off[lanes])),
            "largest": 100 * max(map(abs, off[lanes])),
        },
        "rows": [
            {"widths": list(row.widths), "ms": row.milliseconds, "error_percent": 100 * error}
            for row, error in zip(rows, off[lanes], strict=True)
        ],
    }


def main(argv: Sequence[str] | None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="autoprune.measure.latency_table", description=__doc__)
    parser.add_argument("--model", required=True, help="family, or a function's call")
    parser.add_argument("--widths", type=int, nargs="*", default=[], help="before pruning")
    parser.add_argument("--store", required=True, help="client store: size of images")
    parser.add_argument("--target", required=True, help="what is predicted: number of classes")
    parser.add_argument(
        "--measured", help="a device's times, CSV with columns widths and median_ms; else this host"
    )
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="COLUMN=VALUE", help="of these rows of the CSV"
    )
    parser.add_argument("--device", default="", help="what they were measured on, in words")
    parser.add_argument("--format", default="onnx", help="of the host's files (default: onnx)")
    parser.add_argument("--networks", type=int, default=32, help="to time here (default: 32)")
    parser.add_argument("--rounds", type=int, default=5, help="of A B B A (default: 5)")
    parser.add_argument(
        "--multiple",
        type=int,
        default=1,
        help="of which all widths are: kernels may be far slower between (default: 1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the widths that are drawn")
    parser.add_argument("--output", required=True, help="JSON")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    store = ClientStore.open(args.store)
    height, width, channels = store.shape
    classes = len(store.classes(args.target))
    base = base_of(args.model, args.widths, (channels, height, width), classes)
    if args.measured:
        rows = read_rows(args.measured, base, args.only)
        device = {"kind": "given", "name": args.device, "sha256": sha256_file(args.measured)}
    else:
        widths = designed(base, args.networks, args.seed, args.multiple)
        rows = timed(base, widths, args.rounds, args.format)
        package, version = exports.engine(args.format)
        device = {"kind": "host", "name": versions()["cpu"], "engine": f"{package} {version}"}
    table = table_of(base, rows, device, args.multiple)
    write_json(args.output, table)
    off = table["left_out_error_percent"]
    print(
        f"{args.output}: {len(rows)} networks, lanes of {table['lanes']}; of networks left out it "
        f"is {off['median']:.1f} % off at the median, {off['largest']:.1f} % at most"
    )


if __name__ == "__main__":
    run_main(main)
