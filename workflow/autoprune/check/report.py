"""A comparison for people: what moved and by how much, what differs, and one line as verdict."""

import math
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from autoprune.check.causes import Causes
from autoprune.check.compare import KINDS, Change, Comparison, Tolerances

SAME, MOVED, OTHER_VERSIONS = "SAME", "MOVED", "OTHER VERSIONS"
SHOWN = 25  # changes and modules, unless all are asked for


def verdict(comparison: Comparison, causes: Causes, any_versions: bool) -> str:
    """SAME, MOVED, or OTHER VERSIONS: a reference vouches for the libraries it was made with."""
    if comparison.moved():
        return MOVED
    return OTHER_VERSIONS if causes.versions and not any_versions else SAME


def report(
    comparison: Comparison,
    causes: Causes,
    tolerances: Tolerances,
    any_versions: bool = False,
    shown: int | None = SHOWN,
) -> str:
    """The whole report as plain text, the verdict last."""
    parts = [platform_lines(causes, tolerances), by_kind(comparison)]
    if moved := comparison.moved():
        parts.append(f"What moved, the most telling first:\n{change_table(moved, shown)}")
    if allowed := comparison.allowed():
        parts.append(f"What differs and may:\n{change_table(allowed, 5 if shown else None)}")
    parts.append("\n".join(cause_lines(causes, shown)))
    parts.append(last_line(comparison, causes, any_versions))
    return "\n\n".join(part for part in parts if part)


def platform_lines(causes: Causes, tolerances: Tolerances) -> str:
    """Whether the platforms are of one class, and what that means for the comparison."""
    if not causes.platform:
        return "Platform: the reference's class; every figure must be the same."
    return "\n".join(
        [
            "Platform: another class than the reference's.",
            *(f"  {line}" for line in causes.platform),
            "Exact all the same: data, published networks, null draws, and plans, counts and bytes",
            "of dense runs and of those pruned by random weights. Within tolerances: reported "
            f"accuracy ±{tolerances.points:g}",
            f"points, one evaluation ±{tolerances.single:g} (or {tolerances.images} test images), "
            f"losses ±{tolerances.loss:g} %, of runs pruned by trained",
            f"weights counts and bytes ±{tolerances.percent:g} % and the boundaries of the first "
            f"shrink ±{tolerances.boundary:g} %. Not judged:",
            "the rest of those plans, and the tables made from trained runs.",
        ]
    )


def by_kind(comparison: Comparison) -> str:
    """A row for each kind of figure: how many were compared, how many moved, the largest move."""
    rows = []
    for kind in KINDS:
        changes = [change for change in comparison.changes if change.kind == kind]
        moved = [change for change in changes if not change.allowed]
        compared, skipped = comparison.compared[kind], comparison.skipped[kind]
        if compared or skipped or changes:
            numbers = [compared, len(moved), len(changes) - len(moved), skipped]
            rows.append([kind, *numbers, largest(moved or changes)])
    headers = ["figures", "compared", "moved", "differ and may", "not judged", "largest change"]
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)


def largest(changes: Sequence[Change]) -> str:
    """The largest size among changes, with its unit."""
    sized = [change for change in changes if change.size is not None]
    return written_size(max(sized, key=lambda change: abs(change.size or 0))) if sized else ""


def written_size(change: Change) -> str:
    """By how much, with its unit: points of accuracy, percent of anything else."""
    if change.size is None:
        return ""
    if math.isinf(change.size) or math.isnan(change.size):
        return "from nothing"
    return f"{change.size:+.3g} {'points' if change.kind == 'accuracy' else '%'}"


def change_table(changes: Sequence[Change], shown: int | None) -> str:
    """A row for each change; no more than ``shown``, and how many were left out."""
    rows = [
        [c.kind, c.where, c.what, _short(c.old), _short(c.new), written_size(c)]
        for c in changes[:shown]
    ]
    headers = ["figure", "where", "what", "reference", "now", "by"]
    table = tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True)
    left = len(changes) - len(rows)
    return table + (f"\n… and {left} more; --all shows them" if left else "")


def _short(text: str) -> str:
    """A checksum's first digits; other text as it is, a long one cut."""
    return text if len(text) <= 28 else text[:25] + "…"


def cause_lines(causes: Causes, shown: int | None) -> Iterator[str]:
    """What differs besides the numbers, a heading and a line each."""
    yield "What differs besides:"
    parts = {
        "config": causes.settings,
        "code": causes.code,
        "version": causes.versions,
        "note": causes.notes,
    }
    for name, lines in parts.items():
        for line in lines[:shown]:
            yield f"  {name:8} {line}"
        if shown is not None and len(lines) > shown:
            yield f"  {name:8} … and {len(lines) - shown} more; --all shows them"
    if not any(parts.values()):
        yield "  nothing: the same settings, code and versions"


def suspected(code: Sequence[str], moved: Sequence[Change]) -> list[str]:
    """Lines on modules, the likeliest first: where only published tables moved, their own, then
    what is in no run's code."""
    if any(change.kind != "published tables" for change in moved):
        return [*code]
    own = {f"autoprune.evidence.{change.where.partition(':')[0]}" for change in moved}
    return sorted(code, key=lambda line: (line.split()[0] not in own, "of no run" not in line))


def last_line(comparison: Comparison, causes: Causes, any_versions: bool) -> str:
    """The verdict in one line, with the first suspect."""
    found = verdict(comparison, causes, any_versions)
    compared = sum(comparison.compared.values())
    if found == MOVED:
        moved = comparison.moved()
        suspects = [*causes.settings, *causes.versions, *suspected(causes.code, moved)]
        if not suspects:
            suspects = ["nothing else differs: chance has got in, or files were edited"]
        return f"{MOVED}: {len(moved)} of {compared} figures. First suspect: {suspects[0]}"
    if found == OTHER_VERSIONS:
        return (
            f"{OTHER_VERSIONS}: all {compared} figures are the reference's, but "
            f"{'; '.join(causes.versions)}. Record a new reference, or give --any-versions"
        )
    differ = len(comparison.allowed())
    within = f"; {differ} differ, no more than they may" if differ else ""
    other = f"; {len(causes.code)} modules are not the reference's" if causes.code else ""
    return f"{SAME}: {compared} figures compared{within}{other}"
