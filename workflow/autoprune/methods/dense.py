"""The baseline: plain FedAvg on the network as it is."""

from autoprune.methods import Base


class Method(Base):
    """Leaves the network alone."""

    variants = ("fedavg",)
