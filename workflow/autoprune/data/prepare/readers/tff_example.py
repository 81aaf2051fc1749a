"""Serialized ``tf.train.Example``s, read by the protobuf library without TensorFlow."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from autoprune.core.errors import InputError
from autoprune.data.prepare.readers.tff_layout import Layout


@functools.cache
def _message() -> type:
    """The message class of tensorflow/core/example/{example,feature}.proto.

    Its packed numbers (``repeated float value = 1 [packed = true]``, the same for int64) are
    declared as ``bytes``, which is the same on the wire. So an image is one copy and not an
    object a pixel: 1.5 instead of 28 microseconds for FEMNIST's.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example", package="tff", syntax="proto3")

    def add(message: Any, name: str, number: int, of: str | int, repeated: bool = False) -> Any:
        label = kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
        field = message.field.add(name=name, number=number, label=label)
        if isinstance(of, str):
            field.type, field.type_name = kind.TYPE_MESSAGE, f".tff.{of}"
        else:
            field.type = of
        return field

    add(file.message_type.add(name="BytesList"), "value", 1, kind.TYPE_BYTES, repeated=True)
    add(file.message_type.add(name="FloatList"), "value", 1, kind.TYPE_BYTES)
    add(file.message_type.add(name="Int64List"), "value", 1, kind.TYPE_BYTES)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, of) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1
    ):
        add(feature, name, number, of).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, kind.TYPE_STRING)
    add(entry, "value", 2, "Feature")
    add(features, "feature", 1, "Features.FeatureEntry", repeated=True)
    add(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tff.Example"))


def parse_example(where: str, serialized: Any) -> Mapping[str, Any]:
    """The features of one example by name; InputError when it is none."""
    try:
        return _message().FromString(serialized).features.feature
    except (DecodeError, TypeError) as error:
        raise InputError(
            f"{where}: not a tf.train.Example ({error}); fetch the file again"
        ) from None


def example_labels(where: str, features: Mapping[str, Any], layout: Layout) -> bytes:
    """The class of each of the layout's targets; InputError for one missing or outside."""
    classes = len(layout.classes)
    labels = bytearray()
    for name in layout.labels.values():
        raw = _packed(where, features, name, "int64_list")
        if len(raw) != 1 or raw[0] >= classes:  # a class is below 128: its varint is one byte
            what = _first_number(raw) if sum(byte < 128 for byte in raw) == 1 else "not one number"
            raise InputError(
                f"{where}: `{name}` is {what}, expected a whole number in 0..{classes - 1}; "
                "fetch the file again"
            )
        labels += raw
    return bytes(labels)


def example_image(where: str, features: Mapping[str, Any], layout: Layout) -> np.ndarray:
    """The image as stored, float32 or uint8; InputError for another number of pixels."""
    if layout.white == 1:
        raw, form = _packed(where, features, layout.image, "float_list"), np.dtype("<f4")
    else:
        raw = _bytes_of_varints(where, _packed(where, features, layout.image, "int64_list"))
        form = np.dtype(np.uint8)
    number = len(raw) / form.itemsize
    if number != math.prod(layout.stored):
        raise InputError(
            f"{where}: `{layout.image}` has {number:g} numbers, expected "
            f"{' x '.join(map(str, layout.stored))}; fetch the file again"
        )
    return np.frombuffer(raw, form).reshape(layout.stored)


def _packed(where: str, features: Mapping[str, Any], name: str, kind: str) -> bytes:
    """A feature's numbers as on the wire; it has to be of this kind and packed."""
    feature = features.get(name)
    raw = b"" if feature is None else getattr(feature, kind).value
    if not raw:
        found = "no" if feature is None else "no packed numbers of the right type in"
        raise InputError(f"{where}: {found} feature `{name}`; fetch the file again")
    return raw


def _bytes_of_varints(where: str, raw: bytes) -> np.ndarray:
    """Packed varints of numbers in 0..255 as uint8; InputError for another number.

    Such a number takes one byte below 128, or two: itself, since the bit that says "goes on" is
    its own highest bit, and a 1.
    """
    wire = np.frombuffer(raw, np.uint8)
    goes_on = wire >= 128
    second = np.concatenate([[False], goes_on[:-1]])
    bad = second & (wire != 1)
    if goes_on[-1] or bad.any():
        wrong = np.flatnonzero(bad)
        at = wrong[0] - 1 if len(wrong) else len(wire) - 1
        raise InputError(
            f"{where}: pixel {_first_number(raw[at:])}, expected a number in 0..255; fetch the "
            "file again"
        )
    return np.compress(~second, wire)  # four times as fast here as wire[~second]


def _first_number(raw: bytes) -> int:
    """The first varint, an int64 in two's complement."""
    number = 0
    for place, byte in enumerate(raw[:10]):
        number |= (byte & 127) << (7 * place)
        if byte < 128:
            break
    return number - 2**64 if number >> 63 else number
