"""What is sent: the bytes of a message's content as Flower serialises it, and of its numbers."""

import math
from dataclasses import dataclass

import numpy as np
from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict


def encode(record: RecordDict) -> bytes:
    """The serialised content of a message: arrays with their headers, configuration, metrics."""
    return recorddict_to_proto(record).SerializeToString(deterministic=True)


def decode(content: bytes) -> RecordDict:
    """The inverse of ``encode``."""
    return recorddict_from_proto(ProtoRecordDict.FromString(content))


def size(record: RecordDict) -> int:
    """Bytes of a message's content on the wire.

    The envelope (ids, time stamps; some 100 bytes) is left out: it differs between transports.
    """
    return recorddict_to_proto(record).ByteSize()


def payload(record: RecordDict) -> int:
    """Bytes of the numbers in a message's arrays, without any header, name or setting."""
    return sum(
        np.dtype(array.dtype).itemsize * math.prod(array.shape)
        for arrays in record.array_records.values()
        for array in arrays.values()
    )


@dataclass
class Traffic:
    """Bytes from the server to its clients and back: ``size`` and ``payload`` of all messages."""

    bytes_down: int = 0
    bytes_up: int = 0
    payload_down: int = 0
    payload_up: int = 0

    def down(self, record: RecordDict) -> None:
        """Count the content of a message to a client."""
        self.bytes_down += size(record)
        self.payload_down += payload(record)

    def up(self, record: RecordDict) -> None:
        """Count the content of a reply."""
        self.bytes_up += size(record)
        self.payload_up += payload(record)
