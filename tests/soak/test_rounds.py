"""Thousands of rounds: memory, open files and CPU seconds a round stay what they are."""

import csv
import itertools
import os
import subprocess
import sys
from statistics import median

import psutil
import pytest

from stages import run_flags

pytestmark = pytest.mark.soak

ROUNDS = int(os.environ.get("AUTOPRUNE_SOAK_ROUNDS", "2000"))

# the run of a study, some of whose clients misbehave: each in its own way, drawn by (round, client)
UNRELIABLE = """
import os, random, signal, sys, time
import torch
from autoprune.federation import client_app, messages
from autoprune.federation.__main__ import main
from autoprune.core.errors import run_main

SHARE, original = float(os.environ["SHARE"]), client_app.reply

def reply(client, weights, examples, loss, answers=None):
    draw = random.Random(f"{os.urandom(8)}")
    if client == 0 or draw.random() >= SHARE:  # somebody is left in each round
        return original(client, weights, examples, loss, answers)
    way = draw.randrange(8)
    if way == 0:
        raise ValueError("no data; today\\x1b[31m")
    if way == 1:
        sys.exit(3)
    if way == 2:
        return original(client + 1, weights, examples, loss, answers)
    if way == 3:
        return original(client, weights * float("nan"), examples, loss, answers)
    if way == 4:
        return original(client, weights[1:], examples, loss, answers)
    if way == 5:
        return original(client, weights, 2**62, loss, answers)
    if way == 6:
        return original(client, weights, examples, float("nan"), answers)
    return original(client, weights.to(torch.float64), examples, loss, answers)

client_app.reply = reply
if __name__ == "__main__":
    run_main(main)
"""


@pytest.mark.parametrize(("workers", "share"), [(1, 0.0), (1, 0.2), (2, 0.0)])
def test_memory_handles_and_time_are_flat(tiny, tmp_path, workers, share):
    told = {
        "dataset": "tiny", "store": tiny / "store", "partition": tiny / "partition",
        "target": "character", "model": "cnn", "widths": [8, 8], "method": "dense",
        "variant": "fedavg", "seed": 0, "rounds": ROUNDS, "clients_per_round": 6,
        "batch_size": 8, "learning_rate": 0.001, "evaluate_every": 20, "checkpoint_every": 20,
        "min_clients": 1, "workers": workers, "output": tmp_path / "run",
    }  # fmt: skip
    program = tmp_path / "unreliable.py"
    program.write_text(UNRELIABLE)
    command = [sys.executable, str(program), *map(str, run_flags(**told))]
    environment = {**os.environ, "SHARE": str(share)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    seen, lines = [], 0
    for line in process.stderr:
        lines += line.startswith("round ")
        if line.startswith("round ") and lines % max(1, ROUNDS // 40) == 0:
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
            memory = sum(one.memory_info().rss for one in family) / 2**20
            used = sum(sum(one.cpu_times()[:2]) for one in family)
            seen.append((used, memory, sum(one.num_fds() for one in family)))
    assert process.wait() == 0
    process.stderr.close()
    seconds = [later[0] - one[0] for one, later in itertools.pairwise(seen)]
    quarter = len(seen) // 4
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    per = median(seconds[quarter : 2 * quarter]), median(seconds[-quarter:])
    print(
        f"{ROUNDS} rounds, {workers} workers, {share:.0%} bad replies: "
        f"{median(m for _, m, _ in early):.0f} to {median(m for _, m, _ in late):.0f} MB, "
        f"{median(f for _, _, f in early):.0f} to {median(f for _, _, f in late):.0f} handles, "
        f"{per[0]:.2f} to {per[1]:.2f} CPU seconds for {max(1, ROUNDS // 40)} rounds"
    )
    assert median(m for _, m, _ in late) <= 1.05 * median(m for _, m, _ in early) + 5
    assert median(f for _, _, f in late) <= median(f for _, _, f in early)
    assert per[1] <= 1.5 * per[0]
    with (tmp_path / "run/history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))[1:]
    usable, asked = (sum(int(row[name]) for row in rows) for name in ("usable", "clients"))
    left_out = sum(int(row["raised"]) + int(row["refused"]) for row in rows)
    assert usable + left_out == asked == 6 * ROUNDS
    assert abs(left_out / asked - share * 5 / 6) <= 0.05
