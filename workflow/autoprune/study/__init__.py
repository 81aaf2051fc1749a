"""The study that a configuration asks for: its keys, its checks, its grid of runs."""
