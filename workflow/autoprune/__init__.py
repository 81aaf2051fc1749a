"""Federated learning with automatic structured pruning: the study behind the Snakefile."""
