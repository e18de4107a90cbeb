"""Training: one jitted step, the loop around it, and what it tells."""
