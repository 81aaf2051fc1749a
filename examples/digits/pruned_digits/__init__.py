"""Handwritten digits, and a network that the server prunes while clients train it."""
