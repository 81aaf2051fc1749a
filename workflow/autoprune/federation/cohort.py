"""Which clients a round is of, and the nodes by which they are reached."""

from flwr.serverapp import Grid

from autoprune.core.seeds import generator


def cohort(seed: int, server_round: int, clients: int, size: int) -> list[int]:
    """The clients of a round, ascending: a function of (seed, round) and of how many there are.

    So methods that are compared at one seed see the same cohorts.
    """
    size = min(size, clients)
    chosen = generator(seed, "cohort", server_round).choice(clients, size, replace=False)
    return sorted(int(client) for client in chosen)


def partitions(grid: Grid) -> dict[int, int]:
    """The node of each client: our grids have one for each, in the partition's order."""
    return dict(enumerate(grid.get_node_ids()))
