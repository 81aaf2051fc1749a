"""Logs of ExecuTorch's executor_runner and qnn_executor_runner, and minibench's JSON, all in ms."""

import json
import math
import re
import statistics
from collections.abc import Sequence

from autoprune.core.errors import InputError
from autoprune.phone.lines import NUMBER, WHOLE, only, plain
from autoprune.phone.measurement import Figure, Measurement, in_ms, measurement

# glog's head before the text, with the line of the source that printed it
HEAD = re.compile(r"^[IWEF] \d\d:\d\d:\d\d\.\d+ executorch:\w*executor_runner\.cpp:(\d+)\] ")
ITERATION = re.compile(rf"^Iteration ({WHOLE}) of ({WHOLE}): ({NUMBER}) ms$")
EXECUTED = re.compile(rf"^Model executed successfully ({WHOLE}) time\(s\) in ({NUMBER}) ms\.$")
MODEL_FILE = re.compile(r"^Model file (.+) is loaded\.$")
# qnn_executor_runner: a line for each input with its --iteration runs, and one of all inputs
INFERENCE = re.compile(rf"^({WHOLE}) inference took ({NUMBER}) ms, avg ({NUMBER}) ms$")

# minibench writes a JSON list of metrics, those in ms named so
MINIBENCH = re.compile(r"\s*\[\s*(?:[\]{]|$)")  # which "[ 11-05 10:11" of logcat's -v long is not
MINIBENCH_MEAN = "avg_inference_latency(ms)"


def known(text: str) -> bool:
    """Whether a plain line is of one of the runners."""
    words = ("executor_runner.cpp", "Model executed successfully", " inference took ")
    return any(word in text for word in words)


def read(lines: Sequence[str], name: str) -> Measurement:
    """The measurement of a runner's lines; raises InputError, naming the log, without just one."""
    headed = [plain(line) for line in lines]
    texts = [HEAD.sub("", text) for text in headed]
    if any("qnn_executor_runner.cpp" in text for text in headed) or any(
        map(INFERENCE.match, texts)
    ):
        return _qnn(headed, texts, name)
    totals = [m for m in map(EXECUTED.match, texts) if m]
    if not totals:
        raise InputError(
            f"{name}: no finished measurement: no line `Model executed successfully`; run it again"
        )
    if len(totals) > 1:
        raise InputError(f"{name}: {len(totals)} measurements, expected one; give a log each")
    number, total = int(totals[0][1]), in_ms(totals[0][2], 1)
    each = [(int(m[1]), int(m[2]), in_ms(m[3], 1)) for m in map(ITERATION.match, texts) if m]
    times = [time for *_, time in each]
    if each and [(n, of) for n, of, _ in each] != [(n + 1, number) for n in range(number)]:
        raise InputError(
            f"{name}: {len(each)} lines `Iteration i of n` do not count to {number}; give the "
            "whole log"
        )
    if times and not math.isclose(
        sum(time.ms for time in times), total.ms, rel_tol=0.01, abs_tol=1e-3
    ):
        raise InputError(
            f"{name}: the iterations sum to {sum(time.ms for time in times):g} ms but the total "
            f"says {total.ms:g} ms"
        )
    if number < 1:
        raise InputError(f"{name}: {number} iterations, expected at least 1; run it again")
    return measurement(
        name,
        {"mean": Figure(total.ms / number, total.step / number), **_of_times(times)},
        tool="executor_runner",
        runs=number,
        threads=None,
        graph=only(MODEL_FILE, texts, name),
    )


def _of_times(times: Sequence[Figure]) -> dict[str, Figure]:
    """Median, least and largest of single runs, where there are any."""
    if not times:
        return {}
    step, values = max(time.step for time in times), [time.ms for time in times]
    return {
        "median": Figure(statistics.median(values), step),
        **{"min": Figure(min(values), step), "max": Figure(max(values), step)},
    }


def _qnn(headed: Sequence[str], texts: Sequence[str], name: str) -> Measurement:
    """Its last line counts inputs, those before it the runs of an input.

    The last line is told from the others by the line of the source that prints it, or where the
    log has no such numbers, because the others add up to it.
    """
    places = [place for place, text in enumerate(texts) if INFERENCE.match(text)]
    rows = [match for match in map(INFERENCE.match, texts) if match]
    if len([text for text in texts if MODEL_FILE.match(text)]) > 1:
        raise InputError(f"{name}: more than one measurement, expected one; give a log each")
    if len(rows) < 2:
        raise InputError(
            f"{name}: no finished measurement: no two lines `n inference took`, of an input and of "
            "all; give the whole log"
        )
    sources = [head[1] if (head := HEAD.match(headed[place])) else None for place in places]
    *each, last = [(int(row[1]), in_ms(row[2], 1)) for row in rows]
    inputs, total = last
    added = sum(time.ms for _, time in each)
    whole = len(each) == inputs and math.isclose(added, total.ms, rel_tol=1e-3, abs_tol=1e-3)
    own = sources[-1] is not None and sources[-1] not in sources[:-1]
    runs = {number for number, _ in each}
    if len(runs) > 1 or not (whole or (own and runs == {1} and len(each) < inputs)):
        raise InputError(
            f"{name}: {len(each)} lines `n inference took` come to {added:g} ms, but the last says "
            f"{inputs} inputs in {total.ms:g} ms; give the whole log of one run"
        )
    number = inputs * runs.pop()
    if number < 1:
        raise InputError(f"{name}: {number} runs, expected at least 1; run it again")
    single = [time for _, time in each] if whole and number == inputs else []
    return measurement(
        name,
        {"mean": Figure(total.ms / number, total.step / number), **_of_times(single)},
        tool="qnn_executor_runner",
        runs=number,
        threads=None,
        graph=only(MODEL_FILE, texts, name),
        delegate="npu",  # it has no other backend
    )


def read_minibench(text: str, name: str) -> Measurement:
    """The measurement of minibench's JSON; raises InputError, naming it, without just one."""
    try:
        # numbers stay text: their digits say how finely they were written
        records = json.loads(text, parse_float=str, parse_int=str)
        found = [(record["metric"], record["actualValue"]) for record in records]
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{name}: not a whole benchmark_results.json of minibench; pull it again"
        ) from None
    metrics = {metric: value for metric, value in found if isinstance(value, str)}
    if len(found) > len({metric for metric, _ in found}):
        raise InputError(f"{name}: more than one measurement, expected one; give a log each")
    if not re.fullmatch(NUMBER, metrics.get(MINIBENCH_MEAN, "")):
        raise InputError(f"{name}: no finished measurement: no {MINIBENCH_MEAN}; run it again")
    status = metrics.get("load_status", "missing")
    if not re.fullmatch(r"0(?:\.0*)?", status):
        raise InputError(f"{name}: load_status is {status}, expected 0; run it again")
    return measurement(
        name,
        # minibench's trimmed mean is no mean and no median: left where it is
        {"mean": in_ms(metrics[MINIBENCH_MEAN], 1)},
        tool="executorch_minibench",
        runs=None,
        threads=None,
        graph=None,
    )
