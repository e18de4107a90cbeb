"""JSON that every reader takes: NaN and infinity, which JSON does not have, are null."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(value: Any) -> str:
    """Plain data as one line of JSON."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
