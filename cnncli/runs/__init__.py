"""Run directories: checkpoints, metrics, provenance."""
