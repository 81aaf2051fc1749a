"""The evidence room: statistics, comparisons and verdicts, from the tables of metrics alone."""
