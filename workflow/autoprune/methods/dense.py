"""The baseline: plain FedAvg on the network as it is."""

from argparse import ArgumentParser
from typing import Any

from autoprune.models import Architecture
from autoprune.models.layers import Network


class Method:
    """Leaves the network alone."""

    variants = ("fedavg",)

    def __init__(
        self, base: Architecture, seed: int, variant: str, settings: dict[str, Any]
    ) -> None:
        pass

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """No flags of its own."""

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """The aggregate, unchanged."""
        return architecture, network

    def searching(self, server_round: int) -> bool:
        """Never."""
        return False

    def to_json(self) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    def restore(self, value: dict[str, Any]) -> None:
        """Nothing to restore."""
