"""Latency on a phone: logs of benchmark tools, sessions of runs, their import."""
