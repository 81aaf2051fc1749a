"""What a session measures: models of export manifests, and its runs in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.phone.exported import models_in
from autoprune.phone.rows import FORMATS
from autoprune.phone.runners import Tool

VERSION = 1
ORDER = "ABBA"  # A the models as listed, B in reverse; AB BA BA AB AB BA ...
KEYS = ("model_id", "file", "sha256", "format", "precision", "variant")
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Model:
    """A model file of a manifest."""

    model_id: str
    file: str
    sha256: str
    format: str
    precision: str
    variant: str
    path: Path
    of: tuple[str, ...]  # dataset, model and seed: what a dense and a pruned one have in common


@dataclass(frozen=True)
class Run:
    """One run of a session; ``order`` counts from 1."""

    order: int
    model: Model
    threads: int
    repeat: int

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes it the same run in a session started again."""
        return (self.model.sha256, self.threads, self.repeat)

    def run_id(self, attempt: int) -> str:
        """Its name in runs.csv and of its raw log."""
        again = f"-a{attempt}" if attempt > 1 else ""
        what = f"{self.model.variant}-{self.model.precision}"
        return f"{self.order:03d}-{what}-t{self.threads}-r{self.repeat}{again}"


def models_of(dense: Sequence[Path], pruned: Sequence[Path], tool: Tool) -> list[Model]:
    """The models that the tool can read, dense beside pruned, each file once and checked.

    Raises InputError for a file that is absent or another than its manifest says, for a manifest
    under the wrong flag, and for a model without a counterpart.
    """
    found: dict[str, Model] = {}
    for variant, paths in (("dense", dense), ("pruned", pruned)):
        for path in paths:
            for model in _models(path, variant, tool.format):
                found.setdefault(model.sha256, model)
    names: dict[str, Model] = {}
    for model in found.values():
        other = names.setdefault(model.file, model)
        if other is not model:
            raise InputError(
                f"{model.path} and {other.path}: two models of one name; export them again"
            )
    if not found:
        raise InputError(
            f"{', '.join(map(str, [*dense, *pruned]))}: no .{tool.format} file, the format that "
            f"{tool.name} reads; export that format, or use another --tool"
        )
    models = sorted(
        found.values(),
        key=lambda m: (PRECISIONS.index(m.precision), m.of, m.variant, m.model_id),
    )
    for model in models:
        if not any(
            (m.precision, m.of) == (model.precision, model.of) and m.variant != model.variant
            for m in models
        ):
            missing = "pruned" if model.variant == "dense" else "dense"
            raise InputError(
                f"{model.path}: no {missing} model of {' '.join(model.of)} in {model.precision} "
                f"beside it; give its manifest with --{missing}"
            )
    return models


def _models(manifest: Path, variant: str, wanted: str) -> list[Model]:
    """A manifest's models of one format."""
    return [
        _model(manifest, number, row, variant)
        for number, row in enumerate(models_in(manifest))
        if isinstance(row, dict) and row.get("format") == wanted
    ]


def _model(manifest: Path, number: int, row: dict[str, Any], variant: str) -> Model:
    """A row of a manifest, its file checked."""
    where = f"{manifest}: model {number}"
    missing = [key for key in KEYS if not isinstance(row.get(key), str)]
    if missing:
        raise InputError(f"{where}: no {missing[0]}; run autoprune.measure.export again")
    if row["variant"] != variant:
        raise InputError(
            f"{where}: variant is {row['variant']}, expected {variant}; give it with "
            f"--{row['variant']}"
        )
    if row["precision"] not in PRECISIONS:
        raise InputError(f"{where}: precision is {row['precision']}, expected one of {PRECISIONS}")
    ending = Path(row["file"]).suffix[1:]
    if ending in FORMATS and ending != row["format"]:
        raise InputError(
            f"{where}: file is {row['file']}, expected a .{row['format']} as its format"
        )
    path = manifest.parent / row["file"]
    if Path(row["file"]).name != row["file"]:
        raise InputError(f"{where}: file is {row['file']}, expected a name without a folder")
    if not path.is_file():
        raise InputError(f"{path}: no such file, but {manifest} names it; export again")
    found = sha256_file(path)
    if found != row["sha256"]:
        raise InputError(
            f"{path}: SHA-256 {found[:16]}..., {manifest} says {row['sha256'][:16]}...; export "
            "again"
        )
    of = tuple(str(row[key]) for key in ("dataset", "model", "seed") if key in row)
    return Model(**{key: row[key] for key in KEYS}, path=path, of=of)


def plan(models: Sequence[Model], threads: Sequence[int], repeats: int) -> list[Run]:
    """All runs of a session in order: all of one number of threads, then of the next.

    The models are run forth in repeat 1 and back in repeats 2 and 3, forth in 4 and 5, and so on:
    a drift of the phone's clock hits each variant alike (ABBA BAAB AB... of each pair).
    """
    runs: list[Run] = []
    for number in threads:
        for repeat in range(1, repeats + 1):
            forth = repeat % 4 in (0, 1)
            for model in models if forth else reversed(models):
                runs.append(Run(len(runs) + 1, model, number, repeat))
    return runs
