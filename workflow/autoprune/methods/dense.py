"""The baseline: plain FedAvg on the network as it is."""

from autoprune.methods import Base


class Method(Base):
    """What all others are compared with."""

    variants = ("fedavg",)
    labels = {"fedavg": "dense (FedAvg)"}
