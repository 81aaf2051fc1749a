"""The Flower app's configuration, for `flwr run`: the settings of a run of config.yaml.

`make docs` writes it; a test says when it is stale.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from autoprune import methods
from autoprune.core.errors import run_main
from autoprune.core.files import write_text
from autoprune.federation.settings import Settings
from autoprune.federation.submit import with_config
from autoprune.study.grid import CONFIG, Run, read_config, told

RUN = Run("glyphs", "cnn", "autoprune", "inherit", 0)
# given with --run-config; without `like` a variant that is given is the method's own
OPEN = {"store": "", "partition": "", "output": "", "like": ""}


def render(app: str, config: Path) -> str:
    """The text of the app's pyproject.toml, which the configuration ends, with a new one."""
    run = Settings.from_run_config(told(read_config([], config), RUN) | OPEN)
    own = methods.read_settings(run.method, run.told())
    return with_config(app, run.with_own(own).run_config())


def main(argv: Sequence[str] | None = None) -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path(CONFIG))
    parser.add_argument("--app", type=Path, default=Path("workflow/pyproject.toml"))
    args = parser.parse_args(argv)
    write_text(args.app, render(args.app.read_text(encoding="utf-8"), args.config))
    print(args.app)


if __name__ == "__main__":
    run_main(main)
