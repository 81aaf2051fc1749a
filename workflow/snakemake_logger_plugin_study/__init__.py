"""Where Snakemake looks for the logger `study`: packages of this name on the path."""

from autoprune.check.logger import LogHandler

__all__ = ["LogHandler"]
