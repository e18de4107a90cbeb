"""Plain data as YAML text that the reader reads back to the same data."""

from __future__ import annotations

from typing import Any

import yaml
from typing_extensions import override

from cnncli.config.reader import FORBIDDEN, MAX_BYTES, RESOLVED_GROWTH, scalar
from cnncli.errors import ConfigError


def to_yaml(value: Any) -> str:
    """Plain data as YAML, keys in the order given. ConfigError for more text than the reader takes."""
    text = _dump(value, width=110, default_flow_style=None)
    if len(text.encode()) > MAX_BYTES * RESOLVED_GROWTH:
        raise ConfigError.of("with every default filled in, the config is longer than can be read again",
                             "Nest fewer layers inside each other.")  # fmt: skip
    return text


def value_text(value: Any) -> str:
    """Plain data as it is written in one line behind a key."""
    return _dump([value], width=1 << 20, default_flow_style=True).strip()[1:-1]  # without the list's brackets


def _dump(value: Any, width: int, default_flow_style: bool | None) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width,
                     default_flow_style=default_flow_style)  # fmt: skip


class _Dumper(yaml.SafeDumper):
    """Quotes what our reader would take for a number, a truth or nothing; writes no anchors."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    if text != text.encode(errors="replace").decode():  # of a path: such text could not be read back
        raise ConfigError.of(f"the path '{text}' is in bytes that are not UTF-8", "Rename that folder, or use another.")
    style = '"' if FORBIDDEN.search(text) else "'" if scalar(text) != text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
