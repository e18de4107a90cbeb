"""Kernels of our own for CPUs: oneDNN called by XLA. Where they cannot be had, everything runs on plain XLA."""
