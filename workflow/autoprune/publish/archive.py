"""A finished study as one zip that opens without Snakemake, the same bytes for the same study."""

import argparse
import hashlib
import platform
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json, whole_file
from autoprune.publish.crate import CONTENTS, WORKFLOW, described
from autoprune.publish.selection import selected
from autoprune.study.config import Config
from autoprune.study.grid import CONFIG, place, read_config, runs_of

BESIDE = (
    *("config/published.tsv", "envs/requirements.lock", "LICENSE", "CITATION.cff"),
    WORKFLOW,  # which includes the rules
)
RULES = "workflow/rules/*.smk"
RUN_FILES = ("history.csv", "evaluation.json", "architecture.json", "complexity.json", "run.json")
WEIGHTS = {".safetensors", ".onnx", ".tflite", ".pte"}
PACKED = {".safetensors", ".png", ".npy", ".onnx", ".tflite", ".pte"}  # do not shrink further
TEXT = {".csv", ".tsv", ".json", ".html", ".md", ".tex", ".svg", ".txt", ".yaml", ".cff", ".lock"}
NOTES = [
    "Everything here opens with a browser, a spreadsheet or a text editor. Images are not part of "
    "it: data/ says where they came from and what their checksum is.",
    "Code and instructions: the project's repository. Its command autoprune.check.trace works in "
    "this folder too. Check with sha256sum -c manifest-sha256.txt.",
]
LEFT_OUT = "The networks' weights were left out of this copy."
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold
BLOCK = 1 << 20


def missing(config: Config, results: Path) -> list[Path]:
    """What an archive needs and is not there: of ``results`` for this configuration, and beside."""
    tables, figures = (selected(config, kind) for kind in ("tables", "figures"))
    files = ["metrics.csv", "published_counts.json"]
    files += ["findings.md"] if "comparisons" in tables else []
    datasets = dict.fromkeys(config["pairs"][name]["dataset"] for name in config["study"])
    files += [f"tables/{table}.{end}" for table in tables for end in ("csv", "html", "md", "tex")]
    files += [f"figures/{name}.{end}" for name in figures for end in ("svg", "pdf")]
    files += [f"data/{name}/store/header.json" for name in datasets]
    files += [f"data/{name}/partition/partition.json" for name in datasets]
    files += [f"runs/{run.path}/{name}" for run in runs_of(config) for name in RUN_FILES]
    wanted = [*(results / file for file in files), *map(Path, BESIDE)]
    return [file for file in wanted if not file.is_file()]


def chosen(results: Path, weights: bool) -> Iterator[Path]:
    """The files of a results folder that belong into an archive: no images, no scratch files."""
    for name in CONTENTS:
        place = results / name
        for file in sorted([place] if place.is_file() else place.rglob("*")):
            images = file.parent.name == "store" and file.suffix == ".npy"
            scratch = file.name.startswith((".", "checkpoint."))
            wanted = weights or file.suffix not in WEIGHTS
            if file.is_file() and wanted and not images and not scratch:
                yield file


def inside(path: Path) -> str:
    """A file's place in the archive: that in the project's folder."""
    absolute, here = path.resolve(), Path.cwd().resolve()
    if absolute.is_relative_to(here):
        return absolute.relative_to(here).as_posix()
    return path.as_posix().lstrip("/")


def without_machine(text: bytes) -> bytes:
    """A text without the project's absolute path and the machine's name."""
    here, node = str(Path.cwd().resolve()).encode(), platform.node().encode()
    text = text.replace(here + b"/", b"").replace(here, b".")
    if len(node) > 3 and node != b"localhost":
        text = re.sub(rb"(?<![\w-])" + re.escape(node) + rb"(?![\w-])", b"localhost", text)
    return text


def blocks(source: Path | bytes) -> Iterator[bytes]:
    """What is to be stored of a file: text without the machine's traits, the rest as it is."""
    if isinstance(source, bytes):
        yield source
    elif source.suffix in TEXT:
        yield without_machine(source.read_bytes())
    else:
        with source.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block


def write_zip(output: Path, members: Mapping[str, Path | bytes]) -> int:
    """Write the members, sorted and without dates, and their manifest; bytes of the zip."""
    lines = []
    on_terminal = sys.stderr.isatty()
    with whole_file(output) as scratch:
        with zipfile.ZipFile(scratch, "w", allowZip64=True) as archive:
            for name in track(
                sorted(members),
                description="archiving",
                console=Console(stderr=True),
                disable=not on_terminal,
            ):
                digest = hashlib.sha256()
                with archive.open(entry(name), "w", force_zip64=True) as stream:
                    for block in blocks(members[name]):
                        digest.update(block)
                        stream.write(block)
                lines.append(f"{digest.hexdigest()}  {name}\n")
            archive.writestr(entry("manifest-sha256.txt"), "".join(lines))
        return scratch.stat().st_size


def entry(name: str) -> zipfile.ZipInfo:
    """A member's header, which says nothing of when and by whom it was made."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_STORED if Path(name).suffix in PACKED else zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, whatever this is
    info.external_attr = 0o100644 << 16
    return info


def finished(results: Path, config: Config) -> datetime:
    """When the last run was finished, in UTC."""
    stamps = [(results / "runs" / run.path / "run.json").stat().st_mtime for run in runs_of(config)]
    return datetime.fromtimestamp(int(max(stamps)), UTC)


def receipts(config: Config) -> list[Path]:
    """What says which files the data were downloaded from."""
    folder = place(config, "resources") / "downloads"
    datasets = {config["pairs"][name]["dataset"] for name in config["study"]}
    names = [n for d in sorted(datasets) for n in config["datasets"][d].get("downloads", [])]
    return [path for name in names if (path := folder / f"{name}.json").is_file()]


def archive(
    config: Config, configfiles: Sequence[Path], results: Path, output: Path, weights: bool = True
) -> tuple[int, int]:
    """Write the archive; the number of its files and its bytes.

    Raises InputError, naming what is missing, unless the study is finished.
    """
    lacking = missing(config, results)
    if lacking:
        raise InputError(
            f"{results}: not a finished study of {', '.join(map(str, configfiles))}: "
            f"{len(lacking)} files are missing, first {lacking[0]}; run the study, or name its "
            "--configfile"
        )
    rules = sorted(Path().glob(RULES))
    beside = [*configfiles, *(Path(name) for name in BESIDE), *rules, *receipts(config)]
    found = [path for path in chosen(results, weights) if path.resolve() != output.resolve()]
    members: dict[str, Path | bytes] = {inside(path): path for path in [*beside, *found]}
    folders = [results / "runs" / run.path for run in runs_of(config)]
    abouts = {inside(run): read_json(run / "run.json") for run in folders}
    names = sorted([*members, "manifest-sha256.txt"])
    texts = described(
        inside(results),
        names,
        abouts,
        finished(results, config),
        [*NOTES, *([] if weights else [LEFT_OUT])],
    )
    members |= {name: text.encode() for name, text in texts.items()}
    return len(members) + 1, write_zip(output, members)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="python -m autoprune.publish.archive", description=__doc__
    )
    parser.add_argument(
        "--configfile",
        nargs="*",
        action="extend",
        default=[],
        metavar="FILE",
        help="as Snakemake was given them",
    )
    parser.add_argument("--results", type=Path, help="the study's results (the config's)")
    parser.add_argument("--output", type=Path, help="the zip to write (study.zip in the results)")
    parser.add_argument("--without-weights", action="store_true", help="leave the networks out")
    arguments = parser.parse_args(argv)
    files = list(dict.fromkeys(map(Path, [CONFIG, *arguments.configfile])))
    config = read_config(files[1:])
    results = arguments.results or place(config, "results")
    output = arguments.output or results / "study.zip"
    count, size = archive(config, files, results, output, not arguments.without_weights)
    print(f"{output}: {count} files, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_main(main)
