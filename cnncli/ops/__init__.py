"""The arithmetic as JAX functions. Arrays are channels-last: (B, H, W, C), (B, length, C)."""
