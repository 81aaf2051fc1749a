"""The dense network in int8 both ways: what rounding alone costs and saves, without any pruning."""

from typing import Any

from autoprune.methods import Base


class Method(Base):
    """The control of what prunes and quantises: FedAvg whose weights travel and stay as int8."""

    variants = ("fedavg",)
    labels = {"fedavg": "dense, int8"}
    encoding = "int8"

    def to_json(self) -> dict[str, Any]:
        """A plan of which nothing goes."""
        return {"base": self.base.to_json(), "variant": self.variant, "shrinks": []}
