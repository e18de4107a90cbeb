"""Bytes, shapes and lists of names as text."""

from __future__ import annotations

from collections.abc import Sequence

from cnncli.sliding import Shape


def in_bytes(size: int) -> str:
    """``12.3 GB``, ``4.0 MB``, ``17 bytes``."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6)):
        if size >= scale / 10:
            return f"{size / scale:,.1f} {unit}"
    return f"{size:,} bytes"


def times(shape: Shape) -> str:
    """(28, 28, 6) -> ``28x28x6``."""
    return "x".join(map(str, shape))


def joined(names: Sequence[str], most: int = 10) -> str:
    """The first ``most`` names in one line."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
