"""Measure what `precision: bf16` does to test accuracy: the same runs in both, paired by seed.

Runs the training stages of a study twice through Snakemake and writes OUTPUT.csv and OUTPUT.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT / "workflow"), str(HERE)]

from bench_report import where  # noqa: E402

from autoprune.core.files import read_json, write_text  # noqa: E402
from autoprune.evidence.statistics import summarise  # noqa: E402

PRECISIONS = ("fp32", "bf16")
RUN = ["dataset", "model", "method", "variant", "seed"]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--configfile", default="config/femnist-leaf.yaml", help="the study (default: %(default)s)")
    add("--seeds", type=int, default=5, help="seeds of each run (default: %(default)s)")
    add("--cores", default="all", help="for Snakemake (default: %(default)s)")
    add("--output", default="benchmarks/precision", help="start of the files' names")
    return parser.parse_args()


def accuracies(args: argparse.Namespace, precision: str, folder: Path) -> pd.DataFrame:
    """Test accuracy (percent) of each run of the study in one precision."""
    results = folder / precision
    overlay = folder / f"{precision}.yaml"
    places = {"results": results, "logs": results / "logs", "benchmarks": results / "benchmarks"}
    change = {
        "pathvars": {name: str(path) for name, path in places.items()},
        "seeds": list(range(args.seeds)),
        "training": {"precision": precision},
    }
    overlay.write_text(yaml.safe_dump(change), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", args.cores, "--nolock"]
    command += ["--configfile", args.configfile, str(overlay), "--quiet", "rules", "host", "--"]
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0"}
    subprocess.run([*command, "complexity"], check=True, cwd=ROOT, env=environment)
    rows = []
    for path in sorted(results.glob("runs/*/*/*/*/seed-*/evaluation.json")):
        keys = [*path.parts[-6:-2], int(path.parts[-2].removeprefix("seed-"))]
        rows.append([*keys, 100 * read_json(path)["test_accuracy"]])
    return pd.DataFrame(rows, columns=[*RUN, precision])


def compare(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each run but its seed: both means, the mean difference with its interval."""
    rows = []
    for keys, seeds in runs.groupby(RUN[:-1], sort=True):
        found = [summarise(seeds[precision]) for precision in PRECISIONS]
        change = summarise(seeds["bf16"] - seeds["fp32"])
        rows.append(
            [
                *(*keys, len(seeds), *(summary.mean for summary in found)),
                *(change.mean, change.low, change.high),
            ]
        )
    names = ["seeds", "fp32, %", "bf16, %", "difference, points", "95 % low", "95 % high"]
    return pd.DataFrame(rows, columns=[*RUN[:-1], *names])


def main() -> None:
    """Run both precisions and write the comparison."""
    args = parse()
    with tempfile.TemporaryDirectory(prefix="precision-") as folder:
        fp32, bf16 = (accuracies(args, precision, Path(folder)) for precision in PRECISIONS)
    runs = fp32.merge(bf16, on=RUN, validate="one_to_one")
    table = compare(runs)
    write_text(f"{args.output}.csv", runs.to_csv(index=False, lineterminator="\n"))
    text = table.to_markdown(index=False, floatfmt=".2f", intfmt="d")
    head = (
        "# Accuracy in bf16 against fp32\n\n"
        f"{where()}. `{args.configfile}`, {args.seeds} seeds, test accuracy; the difference is "
        "bf16 less fp32 of the same seed, with Student's 95 % interval of its mean.\n\n"
    )
    write_text(f"{args.output}.md", f"{head}{text}\n")
    print(f"{args.output}.md")


if __name__ == "__main__":
    main()
