"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ConfigArguments = Annotated[list[str], typer.Argument(metavar="CONFIG|RUN|NAME [KEY=VALUE ...]",
                                                      help="A YAML file, a run's folder or a bundled config's name; "
                                                      "then overrides.")]  # fmt: skip
RunArgument = Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help="A folder like runs/lenet5-1, or one of "
                                            "its checkpoints.")]  # fmt: skip
LatestOption = Annotated[bool, typer.Option("--latest", help="The latest checkpoint instead of the best.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; everything else on stderr.")]
