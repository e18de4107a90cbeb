"""What commands print with. Text from files is never markup; without a terminal, lines are not folded."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from cnncli.errors import printable
from cnncli.json_text import json_text

WIDTH = 120  # columns of a file or a pipe


def make_console(stderr: bool = False) -> Console:
    """A console on stdout, or on stderr where stdout carries JSON."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=not stream.isatty())


def dim(text: str) -> Text:
    """Dimmed text. Control characters, which a path may hold, are escaped."""
    return Text(printable(text), style="dim")


def note(text: str) -> Text:
    """A line that the user should notice."""
    return Text(f"note: {printable(text)}", style="yellow")


def result(text: str) -> Text:
    """The line that the user waited for."""
    return Text(text, style="bold green")


def next_line(*words: str | Path) -> Text:
    """``next    cnn WORD ...``: the command to type next, quoted as a shell needs it."""
    return dim(f"next    {shlex.join(('cnn', *map(str, words)))}")


def show(document: object, json: bool, *parts: RenderableType, next: tuple[str | Path, ...]) -> None:
    """Print a command's result on stdout: the document as JSON, or else its parts and the next command."""
    if json:
        print_json(document)
        return
    console = make_console()
    for part in (*parts, next_line(*next)):
        console.print(part)


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    print(json_text(document))


def print_json_list(documents: Iterable[object]) -> None:
    """Print one JSON document on stdout, a list of which one item is in memory at a time."""
    start = "["
    for document in documents:
        print(start + json_text(document), end="")
        start = ", "
    print("[]" if start == "[" else "]")
