"""Plain data as YAML text that the reader reads back to the same data."""

from typing import Any

import yaml

from cnncli.config.reader import FORBIDDEN, scalar
from cnncli.errors import ConfigError


def to_yaml(value: Any) -> str:
    """Plain data as YAML, keys in the order given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """Quotes what our reader would take for a number, a truth or nothing; writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """The same object twice is written twice."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    if text != text.encode(errors="replace").decode():  # of a path: such text could not be read back
        raise ConfigError.of(f"the path '{text}' is in bytes that are not UTF-8", "Rename that folder, or use another.")
    style = '"' if FORBIDDEN.search(text) else "'" if scalar(text) != text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
