"""The names that a pruning plan's options can take; imports nothing, so that config can use it."""

# what becomes of the weights of the filters that stay; see plan.Plan
WEIGHTS = ("reinit", "inherit", "reinit-once", "rewind")
TAILS = ("both", "low")
STATISTICS = ("layer", "pooled")
