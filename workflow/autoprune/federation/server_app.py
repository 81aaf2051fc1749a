"""The ServerApp: one run on whatever grid Flower, or our own local one, hands over."""

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from autoprune.core.errors import InputError
from autoprune.data.partition import Partition
from autoprune.federation import device
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.nodes import ClientGrid
from autoprune.federation.run import Run
from autoprune.federation.settings import Settings

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """One run on whatever grid Flower hands over; the output folder is in the configuration."""
    settings = Settings.from_run_config(dict(context.run_config))
    if settings.device == device.AUTO:  # of a LocalGrid's or a simulation's it is resolved
        raise InputError(
            "device: found 'auto', which each node of a deployment would take otherwise; expected "
            "cpu or cuda"
        )
    torch.set_num_threads(settings.torch_threads)
    partition = Partition.open(settings.partition)
    if not isinstance(grid, LocalGrid):  # which has a node for each client, with all the data
        grid = ClientGrid(grid, partition.clients, partition.whole)
    Run(settings, grid).execute()
