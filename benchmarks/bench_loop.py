"""A process that trains clients one after the other and says how long it took, on one core.

``python bench_loop.py ours|plain``; a request is a line of JSON on stdin, the answer one on
stdout. Two kinds are two processes, as ``keep_memory`` changes the process it is called in.
"""

import json
import math
import sys
import time
from functools import cache
from typing import Any

import numpy as np
import torch
from bench_clients import plain_input, plain_network
from bench_work import BATCH, EPSILON, LEARNING_RATE
from safetensors.torch import load_file
from torch import nn

from autoprune.federation.training import keep_memory, to_input, train, workspace
from autoprune.models import Architecture, load_state

PROFILED_STEPS = 20
OPERATORS = 12
SIDE, PRODUCTS = 1024, 30  # of the matrices that say what a core can do


def ours(
    architecture: Architecture,
    state: dict[str, torch.Tensor],
    data: tuple[np.ndarray, np.ndarray],
    epochs: int,
    precision: str,
    shuffle: np.random.Generator,
    gradients: str = "torch",
) -> float:
    """One client as the project's ClientApp trains it; its mean loss in the last epoch."""
    network = workspace(architecture)
    network.gradients = gradients
    load_state(network, state)
    return train(
        network,
        to_input(data[0]),
        torch.from_numpy(data[1]),
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        epsilon=EPSILON,
        precision=precision,
        shuffle=shuffle,
    )


def plain(
    architecture: Architecture,
    state: dict[str, torch.Tensor],
    data: tuple[np.ndarray, np.ndarray],
    epochs: int,
    precision: str,
    shuffle: np.random.Generator,
) -> float:
    """The same client in a plain loop: a new model, NCHW, Adam as it comes."""
    if precision != "fp32":
        raise ValueError("the plain loop is fp32")
    model = plain_network(architecture)
    model.load_state_dict(state)
    model.train()
    images, labels = plain_input(data[0]), torch.from_numpy(data[1])
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=EPSILON)
    running = 0.0
    for _ in range(epochs):
        running = 0.0
        order = torch.from_numpy(shuffle.permutation(len(labels)))
        for batch in order.split(BATCH):
            optimizer.zero_grad()
            loss = criterion(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            running += loss.item() * len(batch)
    return running / len(labels)


@cache
def _given(data: str, state: str) -> tuple[np.ndarray, np.ndarray, dict[str, torch.Tensor]]:
    """Images and labels of a file, and the weights of another."""
    with np.load(data) as arrays:
        return arrays["images"], arrays["labels"], load_file(state)


def answer(kind: str, request: dict[str, Any]) -> dict[str, float]:
    """Train ``request["clients"]`` clients; their number of samples, seconds and mean loss.

    Each begins with the weights of ``state`` and has the first ``samples`` images of ``data``.
    """
    client = ours if kind == "ours" else plain
    how = {"gradients": request["gradients"]} if kind == "ours" else {}
    architecture = Architecture.from_json(request["architecture"])
    images, labels, state = _given(request["data"], request["state"])
    places = np.arange(request["samples"]) % len(labels)  # a smoke run draws few images
    images, labels = images[places], labels[places]
    epochs, precision = request["epochs"], request["precision"]
    losses = []
    started = time.perf_counter()
    for number in range(request["clients"]):
        shuffle = np.random.default_rng(number)
        data = images, labels
        losses.append(client(architecture, state, data, epochs, precision, shuffle, **how))
    seconds = time.perf_counter() - started
    samples = request["samples"] * request["epochs"] * request["clients"]
    return {"seconds": seconds, "samples": samples, "loss": float(np.mean(losses))}


def peak() -> dict[str, float]:
    """GFLOP a second of one core that multiplies two square float32 matrices, the best of some."""
    one, other = torch.rand(2, SIDE, SIDE)
    best = math.inf
    for _ in range(PRODUCTS):
        started = time.perf_counter()
        torch.mm(one, other)
        best = min(best, time.perf_counter() - started)
    return {"gflops": 2 * SIDE**3 / best / 1e9}


def profile(request: dict[str, Any]) -> dict[str, Any]:
    """Where a client's time goes: operator, calls, ms and share of self CPU time, most first."""
    steps = {"clients": 1, "samples": BATCH * PROFILED_STEPS, "epochs": 1}
    answer("ours", request | steps)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        answer("ours", request | steps)
    events = sorted(recorded.key_averages(), key=lambda e: e.self_cpu_time_total, reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    rows = [
        [e.key, e.count, e.self_cpu_time_total / 1000, 100 * e.self_cpu_time_total / total]
        for e in events[:OPERATORS]
    ]
    return {"rows": rows, "steps": PROFILED_STEPS, "milliseconds": total / 1000}


def main(kind: str) -> None:
    """Answer requests until stdin ends."""
    torch.set_num_threads(1)
    if kind == "ours":
        keep_memory()
    for line in sys.stdin:
        request = json.loads(line)
        task = request.pop("task", "train")
        if task == "peak":
            reply = peak()
        else:
            reply = profile(request) if task == "profile" else answer(kind, request)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
