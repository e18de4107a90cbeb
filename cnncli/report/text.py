"""Numbers in words."""

from __future__ import annotations


def bytes_text(count: float) -> str:
    """1536 -> ``1.5 KiB``."""
    if count < 1024:
        return f"{count:.0f} B"
    power = min(3, (int(count).bit_length() - 1) // 10)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def count_text(count: int) -> str:
    """4090 -> ``4,090``; from a million on 4090000 -> ``4.09 M``."""
    for power, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if count >= power:
            return f"{count / power:.2f} {unit}"
    return f"{count:,}"


def seconds_text(seconds: float) -> str:
    """9.84 -> ``9.8s``, 75 -> ``1m15s``, 4000 -> ``1h06m``."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}m{seconds:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def figure_text(value: float) -> str:
    """Three significant digits, but no decimals from 100 on: ``12,345``, ``123``, ``12.3``, ``0.123``."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
