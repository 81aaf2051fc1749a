"""How many seeds a study needs for a stated precision: ``python -m autoprune.power``."""

from autoprune.core.errors import run_main
from autoprune.evidence.power import main

if __name__ == "__main__":
    run_main(main)
