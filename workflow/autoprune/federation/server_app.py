"""The ServerApp: one run on whatever grid Flower, or our own local one, hands over."""

from typing import Any

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from autoprune.federation.run import Run
from autoprune.federation.settings import Settings

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """One run on whatever grid Flower hands over; the output folder is in the configuration."""
    main_on(grid, dict(context.run_config))


def main_on(grid: Grid, run_config: dict[str, Any]) -> None:
    """``main`` with the run configuration given apart from a context."""
    settings = Settings.from_run_config(run_config)
    torch.set_num_threads(settings.torch_threads)
    Run(settings, grid).execute()
