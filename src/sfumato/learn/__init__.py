"""Training under a guarantee."""
