"""The settings of one run: one model for the configuration, a file of settings and Flower's app.

Needs neither torch nor flwr, so that a configuration is checked without waiting for them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from autoprune.core.block import Block, wrong
from autoprune.core.calls import Call
from autoprune.core.devices import Device
from autoprune.core.errors import InputError
from autoprune.core.options import measured, read
from autoprune.core.tasks import TaskName
from autoprune.federation.chosen import CHOICES, checked_by, unwritten, written

StandsFor = Annotated[
    Literal["none", "femnist", "celeba"],
    Field(description="The paper's data set that this one is, or stands in for; tables say which."),
]
TARGET = (
    "What is predicted: `character` (tff, leaf, glyphs, hub), `digit` (digits, MNIST), `word` "
    "(speech), an attribute such as `Male` or `Smiling` (tff, celeba, faces), `label` or your own "
    "column (folder, table)."
)
Target = Annotated[str, Field(description=TARGET)]
Kind = Annotated[
    TaskName,
    Field(
        # the paper's task is said nowhere, so that its runs are as they always were
        json_schema_extra=measured("task", **{"multi-label": 1, "regression": 2}),
        description="What is predicted of it: `multi-class`, one of its classes; `multi-label`, "
        "yes or no of each of several targets at once; or `regression`, a number.",
    ),
]
Family = Annotated[
    str, Field(description="Network family, a module in `workflow/autoprune/models`.")
]
Widths = Annotated[
    tuple[Annotated[int, Field(ge=1, le=2**16)], ...],  # no layer in use is a tenth as wide
    Field(
        description="Filters of the prunable layers before pruning, in the family's order; a "
        "function's network has its own."
    ),
]


def read_call(network: str) -> Call:
    """A network's function from its written form, in a block of settings."""
    try:
        return Call.parse(network)
    except InputError as error:
        raise wrong(str(error)) from None


def a_call(network: str) -> str:
    """A network's function as it is written, or nothing."""
    if network:
        read_call(network)
    return network


def above_the_median(ratio: float) -> float:
    """A bound that at least the median of a round is within; 0 is none."""
    if 0 < ratio <= 1:
        raise wrong(f"found {ratio:g}, expected more than 1, or 0 for any distance")
    return ratio


# classes of other libraries by name; in Flower's run configuration they are text
FromText = BeforeValidator(unwritten)
Choice = dict[str, Any]
Optimizer = Annotated[Choice, FromText, checked_by("optimizers", "check")]
Schedule = Annotated[Choice, FromText, checked_by("optimizers", "check_schedule")]
Server = Annotated[Choice, FromText, checked_by("server_optimizer", "check")]
Augmentation = Annotated[list[Choice], FromText, checked_by("augmentation", "check")]


class Training(Block):
    """Training of every pair; a pair may set any of these keys itself, and so may a variant."""

    # what decides a number is a row of metrics.csv; `measured` says under which name
    rounds: int = Field(ge=1, description="Federated rounds, the search included.")
    clients_per_round: int = Field(
        ge=1,
        # the metric clients_per_round is what came of it where clients failed
        json_schema_extra=measured("cohort"),
        description="Clients of a round's cohort.",
    )
    local_epochs: int = Field(
        ge=1,
        json_schema_extra=measured("local_epochs"),
        description="Epochs a client trains in a round.",
    )
    batch_size: int = Field(
        ge=1,
        json_schema_extra=measured("batch_size"),
        description="Images a step of the optimizer.",
    )
    learning_rate: float = Field(
        gt=0, json_schema_extra=measured("learning_rate"), description="Adam's learning rate."
    )
    epsilon: float = Field(
        gt=0, json_schema_extra=measured("epsilon"), description="Adam's epsilon."
    )
    precision: Literal["fp32", "bf16"] = Field(
        json_schema_extra=measured("precision", fp32=32, bf16=16),
        description="Of the clients' arithmetic: `fp32`, the reference; or `bf16`.",
    )
    gradients: Literal["compiled", "torch"] = Field(
        "compiled",
        json_schema_extra=measured("gradients_compiled", compiled=1, torch=0),
        description="Who makes the gradients of `cnn` and `resnet` in fp32 on a CPU: `compiled` "
        "steps of this package, which are faster; or `torch`, as for all other networks. They are "
        "the same to rounding.",
    )
    optimizer_state: Literal["fresh", "carried"] = Field(
        json_schema_extra=measured("optimizer_carried", fresh=0, carried=1),
        description="Adam's moments: `fresh` at every client; or `carried` from client to client "
        "within a round, which is what the authors' code does.",
    )
    batch_norm: Literal["refreshed", "averaged"] = Field(
        json_schema_extra=measured("batch_norm_averaged", refreshed=0, averaged=1),
        description="Batch-norm statistics that are evaluated, exported and saved: `refreshed` by "
        "a forward pass of the round's cohort, whose bytes are charged; or `averaged` from the "
        "clients' training, which is what the authors' code does. Training does not depend on it.",
    )
    optimizer: Optimizer = Field(
        {},
        json_schema_extra=measured("optimizer"),
        description="The clients' optimizer, as `{name: SGD, momentum: 0.9}`: a class of "
        "`torch.optim` and its arguments; its `lr` and `eps` are `learning_rate` and `epsilon`. "
        "Adam where nothing is chosen.",
    )
    schedule: Schedule = Field(
        {},
        json_schema_extra=measured("schedule"),
        description="How the learning rate changes from round to round, as `{name: "
        "CosineAnnealingLR, T_max: 100}`: a class of `torch.optim.lr_scheduler` and its arguments, "
        "its steps the rounds and its base `learning_rate`. Without one the rate stays.",
    )
    proximal_mu: float = Field(
        0,
        ge=0,
        json_schema_extra=measured("proximal_mu"),
        description="FedProx's mu: mu/2 times the squared distance from the weights that a client "
        "received joins the loss that it descends. 0 for none.",
    )
    augmentation: Annotated[list[dict[str, Any]], FromText, checked_by("augmentation", "check")] = (
        Field(
            [],
            json_schema_extra=measured("augmentation"),
            description="What is done to each image each time that a client trains on it, as "
            "`[{RandomCrop: {size: 28, padding: 2}}]`: classes of `torchvision.transforms.v2` and "
            "their arguments, in order, on pixels from 0 to 255.",
        )
    )
    server: Server = Field(
        {},
        json_schema_extra=measured("server"),
        description="How the server makes new weights of its clients', as `{strategy: FedAdam, "
        "eta: 0.01}`: a class of `flwr.serverapp.strategy` and its arguments. FedAvg where nothing "
        "is chosen.",
    )
    device: Device = "cpu"
    start: str = Field(
        "",
        json_schema_extra=measured("start"),
        description="Weights that a run starts from, instead of ones that are drawn: a run's "
        "folder, a safetensors file, or a state dict that torch has saved.",
    )
    start_partial: bool = Field(
        False,
        json_schema_extra=measured("start_partial"),
        description="Whether the start may lack some of the network's tensors, or have them in "
        "other shapes: these stay as they are drawn, and the log names them.",
    )
    min_clients: int = Field(
        ge=1,
        description="Usable replies that a round needs. A client that fails is left out and named "
        "in `history.csv`.",
    )
    client_timeout: float = Field(
        0,
        ge=0,
        description="Seconds that a client has for its part of a round (on Flower's runtimes, that "
        "all of a cohort have, who work side by side there); one that has not answered by then is "
        "left out. 0 for no limit (of a deployment its own, `--reply-seconds`): with one, results "
        "depend on the machine.",
    )
    max_update_ratio: Annotated[float, AfterValidator(above_the_median)] = Field(
        0,
        ge=0,
        description="How many times as far as the median of the round's clients one may move the "
        "weights (Euclidean norm), more than 1; who moves them further is left out. 0 for any "
        "distance.",
    )
    evaluate_every: int = Field(ge=1, description="Rounds between validations.")
    checkpoint_every: int = Field(
        ge=1, description="Rounds between checkpoints: what a killed run loses at most."
    )


class Arm(Block):
    """Which run it is; ``store`` and ``partition`` are folders."""

    dataset: str = Field(description="The data set's name in the results.")
    stands_for: StandsFor
    store: str = Field(description="Folder of the client store.")
    partition: str = Field(description="Folder of the partition.")
    target: Target
    task: Kind = "multi-class"
    metrics: tuple[str, ...] = Field((), description="What is measured of the final network too.")
    model: Family
    network: Annotated[str, AfterValidator(a_call)] = Field(
        "",
        description="The function that makes the network, as `module:function(name=value)`, where "
        "`model` is no family but a name from `networks`.",
    )
    widths: Widths = ()
    method: str = Field(description="What the server does between rounds.")
    variant: str = Field(description="Variant of the method.")
    like: str = Field("", description="The method's own variant, where `variant` is another name.")
    seed: int = Field(ge=0, description="Fixes all that is drawn at random.")


# told where they are set alone
LATER = (*CHOICES, "proximal_mu", "device", "start", "start_partial")


class Settings(Training, Arm):
    """One run. The flat form has dashes in the names, and the method's settings beside the others.

    It is Flower's run configuration, and, but for files and folders, what a file of settings and
    the block ``settings`` of run.json hold.
    """

    torch_threads: int = Field(
        1, ge=1, description="Of each process: the order of sums depends on it."
    )
    output: str = Field(description="Folder for the run's files.")
    method_settings: dict[str, Any] = Field({}, description="The method's own.")

    @model_validator(mode="after")
    def _of_some_widths(self) -> Self:
        """A family needs widths; a network by a function has its own."""
        if not self.network and not self.widths:
            raise wrong("key 'widths' is missing")
        return self

    @property
    def family(self) -> str:
        """The network as ``models.Architecture`` names it: its function, or else its family."""
        return self.network or self.model

    def told(self) -> dict[str, Any]:
        """All that the run is told, of which its method takes what it names."""
        return self.model_dump() | self.method_settings

    def with_own(self, own: Block) -> "Settings":
        """With the method's settings as it has read them, its defaults included."""
        known = own.model_dump(exclude_none=True)
        settings = {n: v for n, v in known.items() if n not in Settings.model_fields}
        return self.model_copy(update={"method_settings": settings})

    def run_config(self) -> dict[str, bool | float | int | str]:
        """The flat form."""
        flat = self.model_dump()
        for name in LATER:  # a run that sets none of them is the one that it was before they were
            if flat[name] == Settings.model_fields[name].default:
                del flat[name]
        flat |= {name: written(flat[name]) for name in CHOICES if name in flat}
        flat["widths"] = " ".join(map(str, self.widths))
        flat["metrics"] = " ".join(self.metrics)
        for name in ("task", "metrics"):
            if getattr(self, name) == Settings.model_fields[name].default:
                del flat[name]
        flat |= flat.pop("method_settings")
        return {name.replace("_", "-"): value for name, value in flat.items()}

    @staticmethod
    def from_run_config(config: Mapping[str, Any], where: str = "run configuration") -> "Settings":
        """The inverse of ``run_config``; keys that are no field belong to the method.

        Raises InputError naming the key, behind ``where`` they are from.
        """
        values = {name.replace("-", "_"): value for name, value in config.items()}
        widths = values.get("widths")
        if isinstance(widths, str):
            values["widths"] = [int(w) if w.isdecimal() else w for w in widths.split()]
        if isinstance(values.get("metrics"), str):
            values["metrics"] = values["metrics"].split()
        own = {n: values.pop(n) for n in list(values) if n not in Settings.model_fields}
        try:
            return read(Settings, values | {"method_settings": own})
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
