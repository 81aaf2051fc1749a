"""Training steps in compiled code, where torch's own operators do more than is needed."""
