"""Does it hold? References, comparisons of studies, the files behind a number, states of runs."""
