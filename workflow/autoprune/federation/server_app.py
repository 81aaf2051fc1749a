"""The ServerApp: one run on whatever grid Flower, or our own local one, hands over."""

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from autoprune.federation.run import Run
from autoprune.federation.settings import Settings

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """One run on whatever grid Flower hands over; the output folder is in the configuration."""
    settings = Settings.from_run_config(dict(context.run_config))
    torch.set_num_threads(settings.torch_threads)
    Run(settings, grid).execute()
