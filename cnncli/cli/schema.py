"""``cnn schema``."""

from __future__ import annotations

import json

from cnncli.lazy import lazy_imports

with lazy_imports():
    from cnncli.config import json_schema


def command() -> None:
    """Print the JSON Schema of a config, for editors.

    With it they complete and check while you type.
    """
    print(json.dumps(json_schema.json_schema(), indent=1))
