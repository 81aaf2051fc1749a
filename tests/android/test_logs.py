"""The logs of phone benchmark tools: real ones, other writings of them, and cut-off ones."""

import dataclasses
import json
import time

import pytest

from autoprune.core.errors import InputError
from autoprune.phone.logs import parse
from autoprune.phone.raw import read_log
from stages import run_here

# of each real log: tool, median, mean, min, max, std, p5, p90, p95, runs, threads, graph, and
# delegate, its nodes, all nodes
UNSAID = (None, None, None)
REAL = {
    "tflite_apk_logcat_cph2641_ssd_small_fp32.log": (
        *("tflite_benchmark_apk", 23.757, 24.3477, 23.347, 35.524, 1.945, 23.412, None, 26.457),
        *(41, 4, "/data/local/tmp/ssd_mobilenetv3_small_fp32.tflite", "xnnpack", 215, 244),
    ),
    "tflite_lp6m_yolov5s_mi11_01.txt": (
        *("tflite_benchmark_model", None, 249.684, 247.067, 254.474, 1.442, None, None, None),
        *(50, None, None, *UNSAID),
    ),
    "tflite_lp6m_yolov5s_mi11_02.txt": (
        *("tflite_benchmark_model", None, 156.669, 149.738, 161.935, 2.352, None, None, None),
        *(50, None, None, *UNSAID),
    ),
    "tflite_tf42507_android_2020.txt": (
        *("tflite_benchmark_model", None, 33.2094, 32.641, 34.005, 0.45, None, None, None),
        *(50, 4, "/data/local/tmp/espcn_harmonic_2x_slim_w_cl.tflite", *UNSAID),
    ),
    "tflite_yuenshome77_android_2019_oldformat.txt": (
        *("tflite_benchmark_model", None, 133.69, 133.474, 134.269, 0.23, None, None, None),
        *(10, None, "/data/local/tmp/tflite/tfmodel/mobilenet_v2_1.0_224_quant.tflite", *UNSAID),
    ),
    "ort_perf_test_vivo_x300_sme2.txt": (
        *("onnxruntime_perf_test", 99.5086, 98.961997, 95.8204, 101.519, None, None, 101.519),
        *(101.519, 5, 1, None, *UNSAID),
    ),
    "executorch_executor_runner_mv2_xnnpack.txt": (
        *("executor_runner", None, 15.013292, None, None, None, None, None, None, 1, None, None),
        *UNSAID,
    ),
}
REFUSED = {
    "executorch_3846_qnn_android_failed.txt": "no finished measurement",
    "pytorch_speed_benchmark_torch_android.txt": "no line of a known tool",
    "dumpsys_battery_pixel6a_android16.txt": "no line of a known tool",
    "dumpsys_thermalservice_pixel6a_android16.txt": "no line of a known tool",
}
# as litert/tools/benchmark_litert_model.{h,cc} and tflite/tools/benchmark/benchmark_model.cc print
# it, LiteRT's own log with the line of the source and line breaks of its own
LITERT = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [1]
INFO: [benchmark_litert_model.cc:303] Loading model from: /data/local/tmp/autoprune/m.tflite
VERBOSE: Replacing 7 out of 9 node(s) with delegate (LITERT_CL) node, yielding 3 partitions for \
subgraph 0 (main).
VERBOSE: Replacing 2 out of 3 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 \
partitions for subgraph 0 (main).
INFO: The input model file size (MB): 0.0216
INFO: Initialized session in 2.31ms.
INFO: Running benchmark for at least 20 iterations and at least 1 seconds but terminate if \
exceeding 60 seconds.
INFO: count=20 first=61 curr=52 min=51 max=61 avg=53.5 std=3 p5=51 median=52 p95=61

INFO: Running benchmark for at least 200 iterations and at least 2 seconds but terminate if \
exceeding 60 seconds.
INFO: count=200 first=52 curr=53 min=50 max=70 avg=52.25 std=2 p5=51 median=52 p95=55

INFO: Inference timings in us: Init: 2310, First inference: 61, Warmup (avg): 53.5, \
Inference (avg): 52.25
INFO: Memory footprint delta from the start of the tool (MB): init=1.2 overall=2.1
INFO: [benchmark_litert_model.h:89] 
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:91] Signature name:       serving_default
INFO: [benchmark_litert_model.h:94] Model initialization: 2.31 ms
INFO: [benchmark_litert_model.h:95] Warmup (first):       0.06 ms
INFO: [benchmark_litert_model.h:97] Warmup (avg):         0.05 ms (20 runs)
INFO: [benchmark_litert_model.h:99] Inference (avg):      0.05 ms (200 runs)
INFO: [benchmark_litert_model.h:103] Inference (min):      0.05 ms
INFO: [benchmark_litert_model.h:105] Inference (max):      0.07 ms
INFO: [benchmark_litert_model.h:107] Inference (std):      0.00
INFO: [benchmark_litert_model.h:115] Throughput:           57.54 MB/s
INFO: [benchmark_litert_model.h:124] 
Memory Usage:
INFO: [benchmark_litert_model.h:125] Init footprint:       1.20 MB
INFO: [benchmark_litert_model.h:127] Overall footprint:    2.10 MB
INFO: [benchmark_litert_model.h:138] ======================================

"""
EXECUTOR = """I 00:00:00.001000 executorch:executor_runner.cpp:300] Model file ./m.pte is loaded.
I 00:00:06.000000 executorch:executor_runner.cpp:705] Iteration 1 of 3: 2.500000 ms
I 00:00:06.000100 executorch:executor_runner.cpp:705] Iteration 2 of 3: 2.000000 ms
I 00:00:06.000200 executorch:executor_runner.cpp:705] Iteration 3 of 3: 3.000000 ms
I 00:00:06.000300 executorch:executor_runner.cpp:710] Model executed successfully 3 time(s) in 7.5 ms.
"""  # noqa: E501
QNN = """I 00:00:00.002044 executorch:qnn_executor_runner.cpp:131] Model file net_qnn.pte is loaded.
I 00:00:00.279532 executorch:qnn_executor_runner.cpp:214] Method loaded.
I 00:00:00.871914 executorch:qnn_executor_runner.cpp:362] 1 inference took 2.500000 ms, avg 2.500000 ms
I 00:00:00.874214 executorch:qnn_executor_runner.cpp:404] 100 inference took 240.000000 ms, avg 2.400000 ms
"""  # noqa: E501
MADE = {"litert": LITERT, "executor": EXECUTOR, "qnn": QNN}


@pytest.fixture(scope="module")
def logs(shared_data):
    return shared_data / "android-logs"


def test_every_real_log_has_its_verdict(logs):
    """A log that is added to the folder wants an entry here."""
    assert {path.name for path in logs.iterdir()} == {*REAL, *REFUSED}


@pytest.mark.parametrize("name", REAL)
def test_real_logs_by_the_command(logs, name):
    done = command(logs / name)
    assert (done.returncode, done.stderr) == (0, "")
    assert tuple(json.loads(done.stdout).values()) == REAL[name]


@pytest.mark.parametrize("name", REFUSED)
def test_real_logs_without_a_measurement_are_one_line(logs, name):
    done = command(logs / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {logs / name}: {REFUSED[name]}")
    assert done.stderr.count("\n") == 1


def command(*args):
    return run_here("autoprune.phone", "parse", *args)


# what stands before the figures, and is missing where a log's start is
ABOUT = ("threads", "graph", "tool", "delegate", "nodes_delegated", "nodes_total")


def numbers(text):
    """The figures of a text, or None where it is refused."""
    try:
        found = parse(text, "log").to_json()
    except InputError:
        return None
    return {key: value for key, value in found.items() if key not in ABOUT}


@pytest.mark.parametrize("name", [*REAL, *MADE])
def test_a_cut_log_gives_the_same_numbers_or_none(request, name):
    """At every byte from the end, and at every line from the start; a figure may be missing."""
    text = MADE.get(name) or (request.getfixturevalue("logs") / name).read_text()
    whole = numbers(text)
    assert whole is not None
    ends = [numbers(text[:end]) for end in range(len(text))]
    assert all(found in (None, whole) for found in ends)
    assert ends[40] is None
    lines = text.splitlines(keepends=True)
    for found in (numbers("".join(lines[start:])) for start in range(1, len(lines))):
        assert all(value in (None, whole[key]) for key, value in (found or {}).items())


@pytest.mark.parametrize("name", [*REAL, *MADE])
def test_carriage_returns_and_prefixes_change_nothing(request, name):
    text = MADE.get(name) or (request.getfixturevalue("logs") / name).read_text()
    assert numbers(text.replace("\n", "\r\n")) == numbers(text)
    heads = (
        *("2026-07-14 13:20:57.778  24964 24964 I tflite  : ", "I/tflite  (24964): "),
        "07-14 13:20:57.778 I/tflite  ( 4964): ",
    )
    for head in heads if "logcat" not in name else ():
        lines = "".join(head + line for line in text.splitlines(keepends=True))
        assert numbers(lines) == numbers(text)
    with pytest.raises(InputError, match="expected one"):
        parse(text + text, "log")


def test_litert_is_read_in_microseconds():
    found = parse(LITERT, "log")
    assert (found.tool, found.median_ms, found.mean_ms) == (
        "litert_benchmark_model",
        0.052,
        0.05225,
    )
    assert (found.p5_ms, found.p95_ms, found.p90_ms) == (0.051, 0.055, None)
    assert (found.runs, found.warmup_runs, found.threads) == (200, 20, 1)
    assert found.graph == "/data/local/tmp/autoprune/m.tflite"
    assert (found.delegate, found.nodes) == ("gpu", (7, 9))
    assert (found.init_ms, found.first_ms, found.size_mb.ms) == (2.31, 0.061, 0.0216)


def test_litert_block_alone_is_a_mean_where_two_decimals_are_enough():
    """As logcat has it of LiteRT's own tag; of a tiny network the block says too little."""
    block = LITERT[LITERT.index("INFO: [benchmark_litert_model.h:89]") :]
    lines = [line.removeprefix("INFO: ") for line in block.splitlines()]
    text = "\n".join(f"11-05 10:11:12.345  4321  4321 I litert  : {line}" for line in lines)
    with pytest.raises(
        InputError, match=r"LiteRT's block alone, which has 0\.05 ms in two decimals"
    ):
        parse(text, "log")
    large = text.replace("(avg):      0.05 ms (200", "(avg):      7.02 ms (140")
    found = parse(large.replace("0.07 ms", "8.00 ms"), "log")
    assert (found.tool, found.median_ms, found.mean_ms) == ("litert_benchmark_model", None, 7.02)
    assert (found.min_ms, found.max_ms, found.init_ms, found.runs) == (0.05, 8.0, 2.31, 140)
    for end in range(len(large)):  # its last line is what ends it
        assert numbers(large[:end]) in (None, numbers(large))
    assert numbers(large[: large.rindex("=" * 30)]) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(avg):      0.05", "(avg):      0.07", "block has a mean of 0.07 ms, the last count="),
        ("(max):      0.07", "(max):      0.09", "block has a max of 0.09 ms"),
        (
            "0.05 ms (200 runs)",
            "0.05 ms (201 runs)",
            "block has 201 runs, the last count= line 200",
        ),
    ],
)
def test_a_litert_block_of_another_run(old, new, message):
    assert LITERT.count(old) == 1
    with pytest.raises(InputError, match=message):
        parse(LITERT.replace(old, new), "log")


def test_qnn_executor_runner_counts_inputs_in_its_last_line():
    """A line for each input, of one run or of many; the last is told by where it is printed."""
    head = "I 00:00:00.871914 executorch:qnn_executor_runner.cpp:"
    model = "Model file net.pte is loaded.\n"

    def log(*rows, sources=(362, 404)):
        each = [sources[0]] * (len(rows) - 1) + [sources[1]]
        lines = [f"{head}131] {model}" if sources[0] else model]
        for (number, total), source in zip(rows, each, strict=True):
            text = f"{number} inference took {total:f} ms, avg {total / number:f} ms\n"
            lines.append(f"{head}{source}] {text}" if source else text)
        return "".join(lines)

    for sources in ((362, 404), (None, None)):
        many = parse(log((100, 240.0), (1, 240.0), sources=sources), "log")
        assert (many.mean_ms, many.runs, many.median_ms) == (2.4, 100, None)
        single = parse(log((1, 2.0), (1, 3.0), (1, 7.0), (3, 12.0), sources=sources), "log")
        assert (single.mean_ms, single.median_ms, single.max_ms, single.runs) == (4.0, 3.0, 7.0, 3)
    for rows in ([(1, 2.5)], [(100, 240.0), (100, 250.0)], [(100, 240.0), (7, 900.0)]):
        with pytest.raises(InputError, match=r"no two lines|but the last says"):
            parse(log(*rows), "log")


def test_executor_runner_has_the_median_of_its_iterations():
    found = parse(EXECUTOR, "log")
    assert (found.median_ms, found.mean_ms, found.min_ms, found.max_ms) == (2.5, 2.5, 2.0, 3.0)
    assert (found.runs, found.graph) == (3, "./m.pte")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Iteration 2 of 3: 2.000000", "Iteration 2 of 3: 2.900000", "sum to 8.4 ms but the total"),
        ("Iteration 2 of 3", "Iteration 3 of 3", "do not count to 3"),
        ("ms.\n", "ms.\nModel file b.pte is loaded.\n", "./m.pte and b.pte in one log"),
        ("1 of 3: 2.500000", "1 of 3: -2.500000", "do not count to 3"),
    ],
)
def test_an_executor_log_that_contradicts_itself(old, new, message):
    if "-" in new:
        message = "sum to|above 0"
    with pytest.raises(InputError, match=message):
        parse(EXECUTOR.replace(old, new), "log")


def test_a_mean_in_exponents_and_a_single_run():
    """A C++ stream prints 2449490 as 2.44949e+06, and one run as curr= alone."""
    end = "Inference timings in us: Init: 1, First inference: 2, Warmup (avg): 3, "
    large = "count=50 first=2449000 curr=2450000 min=2440000 max=2460000 avg=2.44949e+06 std=9\n"
    found = parse(f"{large}{end}Inference (avg): 2.44949e+06\n", "log")
    assert found.mean_ms == 2449.49
    single = parse(f"count=1 curr=500\n{end}Inference (avg): 500\n", "log")
    assert (single.median_ms, single.runs) == (0.5, 1)
    with pytest.raises(InputError, match="average of 500 us but the timings say 501 us"):
        parse(f"count=1 curr=500\n{end}Inference (avg): 501\n", "log")


def test_what_is_no_log_is_one_line(tmp_path):
    assert command(tmp_path / "nowhere").stderr.endswith(
        "cannot be read (No such file or directory)\n"
    )
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0")
    assert "not a text file" in command(tmp_path / "binary").stderr
    (tmp_path / "empty").write_text("")
    assert "no line of a known tool" in command(tmp_path / "empty").stderr


PLAIN = """STARTING!
Num threads: [2]
Graph: [/data/local/tmp/net.tflite]
Loaded model /data/local/tmp/net.tflite
count=70 first=9100 curr=7000 min=6900 max=9100 avg=7050 std=300 p5=6910 median=7000 p95=7400
count=140 first=7100 curr=7010 min=6890 max=8000 avg=7020 std=90 p5=6900 median=7005 p95=7200
Inference timings in us: Init: 42, First inference: 9100, Warmup (avg): 7050, Inference (avg): 7020
"""
LAYOUTS = {  # of logcat, by -v; of a console; of Android Studio
    "threadtime": "11-05 10:11:12.345  4321  4321 I tflite  : {}",
    "year and zone": "2025-11-05 10:11:12.345 +0100  4321  4321 I tflite  : {}",
    "uid": "11-05 10:11:12.345  shell  4321  4321 I tflite  : {}",
    "epoch": "        1762333872.345  4321  4321 I tflite  : {}",
    "time": "11-05 10:11:12.345 I/tflite  ( 4321): {}",
    "brief": "I/tflite  ( 4321): {}",
    "tag": "I/tflite  : {}",
    "process": "I( 4321) {}  (tflite)",
    "thread": "I( 4321: 4321) {}",
    "long": "[ 11-05 10:11:12.345  4321: 4321 I/tflite ]\n{}\n",
    "color": "\x1b[38;5;40m11-05 10:11:12.345  4321  4321 I tflite  : {}\x1b[0m",
    "Android Studio": "2025-11-05 10:11:12.345  4321-4321  tflite  org.tensorflow.lite  I  {}",
    "indented": "   INFO: {}",
    "a blank behind": "{} ",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_is_the_same_in_every_layout(layout):
    found = parse("\n".join(map(LAYOUTS[layout].format, PLAIN.splitlines())), "log")
    assert found.tool.startswith("tflite_benchmark_")
    expected = parse(PLAIN, "log")
    assert dataclasses.replace(found, tool=expected.tool) == expected
    assert (expected.median_ms, expected.runs, expected.threads) == (7.005, 140, 2)


def test_encodings_that_logs_come_in(tmp_path):
    path = tmp_path / "log.txt"
    for content in (
        PLAIN.encode("utf-16"),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        "I/other: gr\u00f6\u00dfe\n".encode("latin-1") + PLAIN.encode(),
    ):
        path.write_bytes(content)
        assert parse(read_log(path), "log") == parse(PLAIN, "log")
    path.write_bytes(b"PK\x03\x04\0\0")
    with pytest.raises(InputError, match=r"log\.txt: not a text file"):
        read_log(path)


def test_a_run_behind_the_measurement_and_commas_are_refused():
    begun = PLAIN + "STARTING!\nNum threads: [1]\nGraph: [/data/local/tmp/net.tflite]\n"
    with pytest.raises(InputError, match="behind the measurement another run begins"):
        parse(begun, "log")
    with pytest.raises(InputError, match="found decimal commas, expected points"):
        parse(PLAIN.replace("7020\n", "7020,5\n"), "log")


@pytest.mark.parametrize("number", ["9" * 20_000, "1e999", "9" * 400 + "e9", "1" + "." * 9000])
@pytest.mark.parametrize("old", ["avg=7020", "count=140", "(avg): 7020", "[2]", "p95=7200"])
def test_numbers_that_are_none_end_in_a_line_at_once(old, number):
    """No number is as long, and looking for one in it must not take for ever."""
    text = PLAIN.replace(old, old.rstrip("]0123456789") + number + "]" * old.endswith("]"))
    assert text != PLAIN
    began = time.process_time()
    try:
        found = parse(text, "log")
    except InputError:
        found = None
    assert time.process_time() - began < 2
    if found is not None:  # a thread count or a percentile may be missing
        assert (found.median_ms, found.runs) == (7.005, 140)


def test_onnxruntime_before_1_17():
    lines = ["Setting intra_op_num_threads to 1", "Total inference requests: 640"]
    lines += ["Average inference time cost: 7.81438 ms"]
    with pytest.raises(InputError, match="run it again, with -s"):
        parse("\n".join(lines), "log")
    for name in ("Min", "Max", "P50", "P90", "P95", "P99", "P999"):
        lines.append(f"{name} Latency: 0.0078 s")
    found = parse("\n".join(lines), "log")
    assert (found.median_ms, found.mean_ms, found.runs) == (pytest.approx(7.8), 7.81438, 640)
