"""How the examples of each data set are spread over its clients.

The more the clients differ, the harder the federated task. *Held out, also trained on* counts the
images of validation and test that are, byte for byte, training images too: a few are chance, many
make accuracies too high.
"""

from collections.abc import Sequence

from autoprune.evidence.partition import COLUMNS as NAMES
from autoprune.publish.tables import Column, Row, plain

TITLE = "Clients and samples"
CATEGORY = "Data"
LABEL = "clients and samples"
GROUP = 1
WORDS = ("dataset", "source", "scheme", "target", "dropped, why")
LEFT_OUT = ("target", "of these, other labels", "dropped clients", "dropped samples")


def column(name: str) -> Column:
    """A column of the CSV, which reads as it stands."""
    paper = "left out" if name in LEFT_OUT else "below" if name == WORDS[-1] else ""
    return plain(name, behind=() if name in WORDS else (name,), paper=paper)


COLUMNS = [column(name) for name in NAMES]


def notes(rows: Sequence[Row]) -> list[str]:
    """Nothing stands below the table."""
    return []
