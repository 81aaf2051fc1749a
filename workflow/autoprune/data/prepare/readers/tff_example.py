"""TensorFlow Federated's rows: a ``tf.train.Example`` each, read without TensorFlow.

The package tfrecord has the message class, but imports torch to get at it.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare.sources import ANSWERS, CHARACTERS

# The spelling of CelebA's own list_attr_celeba.txt, so that a target has one name in all sources.
ATTRIBUTES = [
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs"),
    *("Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows"),
    *("Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup"),
    *("High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard"),
    *("Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns"),
    *("Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat"),
    *("Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
]
BLOCK = 4 << 20  # bytes of images read at once: large beside a call's cost, small beside memory


@dataclass(frozen=True)
class Layout:
    """One data set's examples: ``image`` names its pixels, ``labels`` its targets' features.

    ``shape`` is (H, W, C); pixels go from 0 to ``white``, as floats where that is 1.
    """

    image: str
    shape: tuple[int, int, int]
    white: int
    labels: Mapping[str, str]
    classes: list[str]
    polarity: str

    @property
    def rows(self) -> int:
        """Images read at once."""
        return max(1, BLOCK // int(np.prod(self.shape)))


# simulation/datasets/emnist.py of google-parfait/tensorflow-federated: `pixels` float32 (28, 28)
# with 1.0 for the background, `label` 0-9 digits, 10-35 capitals, 36-61 small letters.
FEMNIST = Layout(
    image="pixels",
    shape=(28, 28, 1),
    white=1,
    labels={"character": "label"},
    classes=CHARACTERS,
    polarity="dark-on-light",
)
# simulation/datasets/celeba.py there: `image` int64 (84, 84, 3) from 0 to 255, and 40 features
# of 0 or 1 that are named as CelebA's attributes, but in small letters.
CELEBA = Layout(
    image="image",
    shape=(84, 84, 3),
    white=255,
    labels={name: name.lower().replace("5_o_clock", "five_o_clock") for name in ATTRIBUTES},
    classes=ANSWERS,
    polarity="colour",
)


@functools.cache
def example_class() -> Any:
    """The message class of tensorflow/core/example/{example,feature}.proto."""
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

    def field(name: str, number: int, kind: str, label: str = "OPTIONAL", **more: Any) -> Any:
        of = {"type": kind} if kind.startswith("TYPE_") else {"typeName": f".tff.{kind}"}
        return {"name": name, "number": number, "label": f"LABEL_{label}", **of, **more}

    lists = {"bytes": "BYTES", "float": "FLOAT", "int64": "INT64"}
    entry = {
        "name": "FeatureEntry",
        "options": {"mapEntry": True},
        "field": [field("key", 1, "TYPE_STRING"), field("value", 2, "Feature")],
    }
    features = field("feature", 1, "Features.FeatureEntry", "REPEATED")
    one_of = [
        field(f"{name}_list", number, f"{name.title()}List", oneofIndex=0)
        for number, name in enumerate(lists, 1)
    ]
    messages = [
        *(
            {"name": f"{n.title()}List", "field": [field("value", 1, f"TYPE_{of}", "REPEATED")]}
            for n, of in lists.items()
        ),
        {"name": "Feature", "oneofDecl": [{"name": "kind"}], "field": one_of},
        {"name": "Features", "field": [features], "nestedType": [entry]},
        {"name": "Example", "field": [field("features", 1, "Features")]},
    ]
    file = {"name": "example", "package": "tff", "syntax": "proto3", "messageType": messages}
    pool = descriptor_pool.DescriptorPool()
    pool.Add(json_format.ParseDict(file, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tff.Example"))


def parse_example(where: str, serialized: Any) -> Mapping[str, Any]:
    """The features of one example by name; InputError when it is none."""
    from google.protobuf.message import DecodeError

    try:
        features: Mapping[str, Any] = example_class().FromString(serialized).features.feature
    except (DecodeError, TypeError) as error:
        raise InputError(
            f"{where}: not a tf.train.Example ({error}); fetch the file again"
        ) from None
    return features


def layout_of(where: str, features: Mapping[str, object]) -> Layout:
    """The data set whose image feature is among ``features``; InputError for another one."""
    for layout in (FEMNIST, CELEBA):
        if layout.image in features:
            return layout
    raise InputError(
        f"{where} has neither `pixels` (FEMNIST) nor `image` (CelebA), but "
        f"{', '.join(sorted(map(str, features))[:5]) or 'nothing'}; give one of these two data sets"
    )


def example_labels(where: str, features: Mapping[str, Any], layout: Layout) -> bytes:
    """The class of each of the layout's targets; InputError for one missing or outside."""
    labels = []
    for name in layout.labels.values():
        (label,) = _numbers(where, features, name, "int64_list", 1)
        if not 0 <= label < len(layout.classes):
            raise InputError(
                f"{where}: `{name}` is {label}, expected a whole number in "
                f"0..{len(layout.classes) - 1}; fetch the file again"
            )
        labels.append(label)
    return bytes(labels)


def example_image(where: str, features: Mapping[str, Any], layout: Layout) -> np.ndarray:
    """The image (H, W, C) uint8; InputError for other pixels or another number of them."""
    kind, form = ("float_list", np.float32) if layout.white == 1 else ("int64_list", np.int64)
    count = int(np.prod(layout.shape))
    numbers = _numbers(where, features, layout.image, kind, count)
    values: np.ndarray = np.fromiter(numbers, form, count)
    wrong = ~((values >= 0) & (values <= layout.white))  # also for NaN
    if wrong.any():
        raise InputError(
            f"{where}: pixel {values[np.argmax(wrong)]}, expected a number in 0..{layout.white}; "
            "fetch the file again"
        )
    if layout.white == 1:
        values = np.rint(values * np.float32(255))
    return values.astype(np.uint8).reshape(layout.shape)


def _numbers(where: str, features: Mapping[str, Any], name: str, kind: str, count: int) -> Any:
    """A feature's numbers, which have to be of this kind and so many."""
    if name not in features:
        raise InputError(f"{where}: no feature `{name}`; fetch the file again")
    numbers = getattr(features[name], kind).value
    if len(numbers) != count:
        raise InputError(
            f"{where}: `{name}` has {len(numbers)} numbers of {kind}, expected {count}; fetch the "
            "file again"
        )
    return numbers
