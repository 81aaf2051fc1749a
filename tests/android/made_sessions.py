"""Phone sessions made for tests: manifests, logs, session.json, runs.csv."""

import csv
import hashlib
import json
from pathlib import Path

from autoprune.phone.rows import COLUMNS

FACTS = {
    "schema_version": 1,
    "session_id": "a-phone",
    "kind": "phone",
    "device": {
        "manufacturer": "Google",
        "model": "Pixel 6a",
        "soc": "Tensor",
        "board_platform": "gs101",
        "android_release": "16",
        "android_sdk": 36,
        "abi": "arm64-v8a",
    },
    "protocol": {
        "version": 1,
        "clocks": "shipped",
        "airplane_mode": "on",
        "screen": "on",
        "low_power": "off",
    },
    "tool": {
        "name": "tflite_benchmark_model",
        "version": "2.20.0",
        "sha256": "c" * 64,
        "source_url": "",
    },
    "host": {"adb_version": "1.0.41", "harness_version": "1"},
}
MACS = {"dense": 5_180_000, "pruned": 1_000_000}
# median, in microseconds: 2 ms and 0.8 ms, and the same for int8 in half the time
MEDIAN_US = {
    "dense-fp32": 2000,
    "pruned-fp32": 800,
    "dense-int8": 1000,
    "pruned-int8": 400,
}


def model(variant, precision, ending="tflite", **changes):
    """A model of a manifest; its SHA-256 is that of its name."""
    name = f"faces-cnn-{variant}-s0-{precision}.{ending}"
    return {
        "model_id": name, "file": name, "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "format": ending, "precision": precision, "variant": variant,
        "dataset": "faces", "data_kind": "stand-in", "stands_for": "celeba", "model": "cnn",
        "method": {"dense": "dense", "pruned": "autoprune"}[variant],
        "run_variant": {"dense": "fedavg", "pruned": "reinit"}[variant], "seed": 0,
        "widths": [32, 32] if variant == "dense" else [14, 9], "parameters": 1000,
        "macs": MACS[variant], "round_widths_to": None, "test_accuracy": 0.9,
    } | changes  # fmt: skip


def write_manifests(folder, ending="tflite", models=None):
    """A manifest each for the dense and the pruned network, or one of ``models``."""
    paths = []
    if models is None:
        groups = {v: [model(v, p, ending) for p in ("fp32", "int8")] for v in ("dense", "pruned")}
    else:
        groups = {"all": models}
    for name, members in groups.items():
        path = Path(folder) / name / "manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"schema_version": 1, "models": members}))
        paths.append(path)
    return paths


def tflite_log(file, median_us=2000, threads=1, count=200):
    """A log of TFLite's benchmark_model, its warm-up before the runs that count."""
    low, high = round(0.95 * median_us), round(1.2 * median_us)
    mean = f"{1.01 * median_us:.6g}"
    return (
        "INFO: STARTING!\n"
        f"INFO: Graph: [/data/local/tmp/autoprune/{file}]\n"
        f"INFO: Num threads: [{threads}]\n"
        "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
        "INFO: Replacing 9 out of 10 node(s) with delegate (TfLiteXNNPackDelegate) node\n"
        f"INFO: count=33 first={high} curr={low} min={low} max={high} avg={mean} std=3 "
        f"p5={low} median={median_us} p95={high}\n"
        f"INFO: count={count} first={low} curr={low} min={low} max={high} avg={mean} std=2 "
        f"p5={low} median={median_us} p95={high}\n"
        f"INFO: Inference timings in us: Init: 812, First inference: {high}, "
        f"Warmup (avg): {mean}, Inference (avg): {mean}\n"
        "INFO: Memory footprint delta from the start of the tool (MB): init=1 overall=2\n"
    )


def row_of(member, median_us, repeat, order, threads=1, **changes):
    """A row of runs.csv that agrees with ``tflite_log``."""
    low, high = round(0.95 * median_us), round(1.2 * median_us)
    run = f"{member['variant']}-{member['precision']}-t{threads}-r{repeat}"
    return {
        "schema_version": 1, "session_id": "a-phone", "run_id": run,
        "model_id": member["model_id"], "variant": member["variant"],
        "model_sha256": member["sha256"], "format": member["format"],
        "precision": member["precision"], "tool": "tflite_benchmark_model",
        "tool_version": "2.20.0", "tool_sha256": "c" * 64, "delegate": "xnnpack",
        "nodes_delegated": 9, "nodes_total": 10, "threads": threads,
        "cpu_mask": "c0" if threads == 1 else "", "batch": 1, "repeat": repeat, "order": order,
        "warmup_runs": 20, "runs": 200, "median_ms": median_us / 1000,
        "mean_ms": float(f"{1.01 * median_us:.6g}") / 1000, "min_ms": low / 1000,
        "max_ms": high / 1000, "std_ms": 0.002, "p5_ms": low / 1000, "p95_ms": high / 1000,
        "init_ms": 0.812, "first_ms": high / 1000, "started_at": "2026-11-03T14:05:00+01:00",
        "battery_temp_c_start": 28.5, "battery_temp_c_end": 29, "thermal_status_start": 0,
        "thermal_status_end": 0, "battery_percent": 80, "powered": 1, "gate": "passed",
    } | changes  # fmt: skip


def write_session(
    folder, *, repeats=3, facts=None, times=None, drop=(), logs=True, threads=(1,), ending="tflite"
):
    """A valid session of the four models; ``times(variant, precision, repeat)`` gives medians."""
    folder = Path(folder)
    (folder / "raw").mkdir(parents=True)
    facts = facts or FACTS
    (folder / "session.json").write_text(json.dumps(facts))
    rows, order = [], 0
    for count in threads:
        for repeat in range(1, repeats + 1):
            for variant in ("dense", "pruned"):
                for precision in ("fp32", "int8"):
                    if variant in drop or precision in drop:
                        continue
                    order += 1
                    median = MEDIAN_US[f"{variant}-{precision}"] + repeat
                    if times:
                        median = times(variant, precision, repeat)
                    member = model(variant, precision, ending)
                    row = row_of(member, median, repeat, order, count)
                    row["session_id"] = facts["session_id"]
                    if logs:
                        row |= write_log(
                            folder, row["run_id"], tflite_log(member["file"], median, count)
                        )
                    rows.append(row)
    write_rows(folder, rows)
    return folder


def write_log(folder, run_id, text):
    """A raw log of a session, and the two cells that say so."""
    path = Path(folder) / "raw" / f"{run_id}.log"
    path.write_text(text)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"raw_log": f"raw/{run_id}.log", "raw_log_sha256": digest}


def write_rows(folder, rows):
    """runs.csv of a session."""
    with (Path(folder) / "runs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(folder):
    """The rows of a session's runs.csv as text."""
    with (Path(folder) / "runs.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def change(folder, line, **cells):
    """Change cells of one line of runs.csv; the header is line 1."""
    rows = read_csv(folder)
    rows[line - 2] |= {key: str(value) for key, value in cells.items()}
    write_rows(folder, rows)


def change_facts(folder, path, value):
    """Change a key of session.json, given as a.b; None takes it away."""
    file = Path(folder) / "session.json"
    facts = json.loads(file.read_text())
    *parents, key = path.split(".")
    place = facts
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[key]
    else:
        place[key] = value
    file.write_text(json.dumps(facts))
