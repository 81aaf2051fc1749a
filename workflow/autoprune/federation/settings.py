"""The settings of one run, as flags of a stage and as Flower's flat run configuration."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from flwr.app import UserConfig

from autoprune.core.errors import InputError
from autoprune.models import Architecture

PRECISIONS = ("fp32", "bf16")
OPTIMIZER_STATES = ("fresh", "carried")
BATCH_NORMS = ("refreshed", "averaged")


@dataclass(frozen=True)
class Settings:
    """One run. Flower's run configuration holds the same keys with dashes.

    ``store``, ``partition`` and ``output`` are folders. ``widths`` are the base network's.
    ``like`` is the method's own variant where ``variant`` is a name of the study's ("" where not).
    ``method_settings`` are the method's own flags. The rest is as in config/README.md.
    """

    dataset: str
    stands_for: str
    store: str
    partition: str
    target: str
    model: str
    widths: tuple[int, ...]
    method: str
    variant: str
    like: str
    seed: int
    rounds: int
    clients_per_round: int
    local_epochs: int
    batch_size: int
    learning_rate: float
    epsilon: float
    precision: str
    optimizer_state: str
    batch_norm: str
    min_clients: int
    evaluate_every: int
    checkpoint_every: int
    torch_threads: int
    output: str
    method_settings: dict[str, Any]

    def __post_init__(self) -> None:
        for name in (
            "rounds",
            "clients_per_round",
            "local_epochs",
            "batch_size",
            "min_clients",
            "evaluate_every",
            "checkpoint_every",
            "torch_threads",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: found {getattr(self, name)}, expected at least 1")
        for name, known in (
            ("precision", PRECISIONS),
            ("optimizer_state", OPTIMIZER_STATES),
            ("batch_norm", BATCH_NORMS),
        ):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name}: unknown {getattr(self, name)!r}; known are {', '.join(known)}"
                )
        for name in ("learning_rate", "epsilon"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: found {getattr(self, name)}, expected above 0")

    def base(self, input_shape: tuple[int, int, int], classes: int) -> Architecture:
        """The base architecture on data of this shape (channels, height, width)."""
        return Architecture(self.model, self.widths, input_shape, classes)

    def run_config(self) -> UserConfig:
        """As Flower's flat run configuration."""
        flat = asdict(self)
        flat["widths"] = " ".join(map(str, self.widths))
        flat |= flat.pop("method_settings")
        return {name.replace("_", "-"): value for name, value in flat.items()}

    @staticmethod
    def from_run_config(config: dict[str, Any]) -> "Settings":
        """The inverse of ``run_config``; keys that are no field belong to the method."""
        values = {name.replace("-", "_"): value for name, value in config.items()}
        names = {field.name for field in fields(Settings)} - {"method_settings"}
        missing = sorted(names - values.keys())
        if missing:
            raise InputError(f"run configuration: keys {', '.join(missing)} are missing")
        own = {name: values[name] for name in names}
        own["widths"] = tuple(int(w) for w in str(own["widths"]).split())
        own["method_settings"] = {n: v for n, v in values.items() if n not in names}
        return Settings(**own)
