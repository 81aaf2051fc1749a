"""What is sent: the bytes of a message's content as Flower serialises it."""

from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict


def encode(record: RecordDict) -> bytes:
    """The serialised content of a message: arrays with their headers, configuration, metrics."""
    return recorddict_to_proto(record).SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def decode(content: bytes) -> RecordDict:
    """The inverse of ``encode``."""
    return recorddict_from_proto(ProtoRecordDict.FromString(content))


def size(record: RecordDict) -> int:
    """Bytes of a message's content on the wire.

    The envelope (ids, time stamps; some 100 bytes) is left out: it differs between transports.
    """
    return recorddict_to_proto(record).ByteSize()  # type: ignore[no-any-return]
