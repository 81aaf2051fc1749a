"""What a study will take, before it runs: ``python -m autoprune.estimate --configfile …``."""

from autoprune.core.errors import run_main
from autoprune.study.estimate import main

if __name__ == "__main__":
    run_main(main)
