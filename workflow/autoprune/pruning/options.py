"""The names that a pruning plan's options can take; imports nothing, so that config can use it."""

# what becomes of the weights of the filters that stay; see plan.Plan
ANEW = ("reinit", "rewind")  # set anew wherever the network shrinks
ONCE = ("reinit-once", "rewind-once")  # kept while the search lasts, set anew when it stops
WEIGHTS = ("reinit", "inherit", "reinit-once", "rewind", "rewind-once")
NORMS = ("trained", "null-kept", "null-fresh")  # whose norms the rule is fed
TARGETS = ("latency_ms", "macs", "parameters", "bytes")  # what a target can be of
# which settings say how much goes: one of them
HOW_MUCH = ("k", *(f"target_{of}" for of in TARGETS))
