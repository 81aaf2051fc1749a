"""Read the logs of phone benchmark tools: one finished measurement each, all times in ms.

The units differ between tools and within one log; each format's are beside its patterns. A log is
read only if the line that its tool prints last is there, so a log that was cut off is refused.
"""

from autoprune.core.errors import InputError
from autoprune.phone import executorch_log, onnxruntime_log, tflite_log
from autoprune.phone.lines import plain, split
from autoprune.phone.measurement import Measurement


def parse(text: str, name: str) -> Measurement:
    """The measurement of a log; ``name`` is the file's, for messages.

    Raises InputError for a log without a finished measurement, with two, that contradicts itself,
    or of a tool that is not known.
    """
    if executorch_log.MINIBENCH.match(text):
        return executorch_log.read_minibench(text, name)
    lines = split(text)
    for log in (executorch_log, onnxruntime_log, tflite_log):
        if any(log.known(line) for line in map(plain, lines)):
            return log.read(lines, name)
    raise InputError(
        f"{name}: no line of a known tool; expected a log of TFLite's or LiteRT's benchmark_model, "
        "onnxruntime_perf_test, executor_runner or qnn_executor_runner, from its start to its end, "
        "or minibench's benchmark_results.json"
    )
