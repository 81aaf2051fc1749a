"""What backs a run: a log, or the result files of a lab with the log beside them."""

import codecs
from dataclasses import replace
from pathlib import Path

from autoprune.core.errors import InputError
from autoprune.phone import lab
from autoprune.phone.delegates import Delegated
from autoprune.phone.logs import parse
from autoprune.phone.measurement import Measurement

RESULTS = ".pb"  # the ending of a results file; anything else is a log
COMPARED = ("median_ms", "mean_ms", "min_ms", "max_ms")


def read_log(path: Path) -> str:
    """A log as text; raises InputError when it is not there or no text.

    Numbers are ASCII in every encoding that logs come in: of another app's line, a letter may be
    lost. What Windows calls Unicode is UTF-16 with a mark in front.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise InputError(f"{path}: not a text file; give the log that the tool printed")
    return content.decode("utf-8-sig", errors="replace")


def read_run(path: Path) -> Measurement:
    """The measurement of a log, or of a lab's results file and what lies beside that.

    Raises InputError, naming the file, for what holds no measurement, and for files that
    contradict each other.
    """
    if path.suffix != RESULTS:
        return parse(read_log(path), str(path))
    found = lab.read_results(path)
    info, beside = lab.companions(path)
    said = lab.read_delegated(info) if info else Delegated(None)
    if beside is not None:
        log = parse(read_log(beside), str(beside))
        _check_same(found, log, path, beside)
        if said.delegate and log.delegate and said.delegate != log.delegate:
            raise InputError(
                f"{info}: nodes were taken by {said.delegate}, {beside} says {log.delegate}; give "
                "the files of one run"
            )
        said = said if said.delegate else Delegated(log.delegate, log.nodes)
        found = replace(found, tool=log.tool, threads=log.threads, graph=log.graph)
    return replace(found, delegate=said.delegate, nodes=said.nodes)


def _check_same(found: Measurement, log: Measurement, path: Path, beside: Path) -> None:
    """Refuse a log that is not of the run that the results are of."""
    for name in (*COMPARED, "runs"):
        mine, logged = getattr(found, name), getattr(log, name)
        if mine is None or logged is None:
            continue
        # one unit of the coarser one's last digit: both are rounded
        slack = max(found.steps.get(name, 0), log.steps.get(name, 0))
        if abs(mine - logged) > slack * (1 + 1e-6):
            raise InputError(
                f"{path}: {name} is {mine:g}, {beside} says {logged:g}; give the files of one run, "
                "or this one without the log"
            )
