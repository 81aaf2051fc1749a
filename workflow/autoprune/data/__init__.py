"""Data sources become one client store, and a store is partitioned among clients."""
