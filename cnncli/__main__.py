"""``python -m cnncli``."""

from __future__ import annotations

from cnncli.cli.main import main

main()
