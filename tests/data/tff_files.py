"""Small files shaped exactly as TensorFlow Federated's, for the tests of its reader."""

import sqlite3
from contextlib import closing

import numpy as np

from autoprune.data.prepare.readers.tff_example import ATTRIBUTES, example_class

CELEBA = ["five_o_clock_shadow" if name[0] == "5" else name.lower() for name in ATTRIBUTES]
TABLES = """
CREATE TABLE examples (split_name TEXT NOT NULL, client_id TEXT NOT NULL,
    serialized_example_proto BLOB NOT NULL);
CREATE TABLE client_metadata (client_id TEXT NOT NULL, split_name TEXT NOT NULL,
    num_examples INTEGER NOT NULL);
CREATE INDEX idx_examples_client_id ON examples (client_id);
CREATE INDEX idx_examples_client_id_split ON examples (split_name, client_id);
CREATE INDEX idx_metadata_client_id ON client_metadata (client_id);
"""


def serialized(features):
    """A tf.train.Example of ``{name: array}``, as sql_client_data_utils.py there makes it."""
    example = example_class()()
    for name, values in features.items():
        values = np.asarray(values)
        values = values.astype(int) if values.dtype.kind == "b" else values
        kind = "float_list" if values.dtype.kind == "f" else "int64_list"
        getattr(example.features.feature[name], kind).value.extend(values.reshape(-1).tolist())
    return example.SerializeToString()


def femnist(seed, labels):
    """A writer's examples: random ink, these labels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 28, 28))
    return {"label": np.array(labels, np.int32), "pixels": (pixels / 255).astype(np.float32)}


def celeba(seed, number):
    """A celebrity's examples: random colours and attributes."""
    rng = np.random.default_rng(seed)
    attributes = {name: rng.integers(0, 2, number).astype(bool) for name in CELEBA}
    return {"image": rng.integers(0, 256, (number, 84, 84, 3)), **attributes}


def write_sqlite(path, splits, seed=None):
    """Write ``{split: {client: {feature: array}}}``; with a seed clients take turns at random."""
    queues = []
    with closing(sqlite3.connect(path)) as database:
        database.executescript(TABLES)
        for split, clients in splits.items():
            for client, features in clients.items():
                rows = [
                    dict(zip(features, row, strict=True))
                    for row in zip(*features.values(), strict=True)
                ]
                queues.append([(split, client, serialized(row)) for row in rows])
                database.execute(
                    "INSERT INTO client_metadata VALUES (?, ?, ?)", (client, split, len(rows))
                )
        turns = np.repeat(np.arange(len(queues)), [len(queue) for queue in queues])
        if seed is not None:
            np.random.default_rng(seed).shuffle(turns)
        rest = [iter(queue) for queue in queues]
        database.executemany(
            "INSERT INTO examples VALUES (?, ?, ?)", (next(rest[turn]) for turn in turns)
        )
        database.commit()
    return path
