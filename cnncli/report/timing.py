"""``cnn time``'s document as a table."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cnncli.report.console import seconds_text
from cnncli.report.tables import table


def summary(document: dict[str, Any]) -> RenderableType:
    """The figures of the whole network, a line each."""
    rates = document["images_per_second"]
    return Text(
        f"train   {_figure(rates['train'])} images/s  ({_figure(document['step_ms'])} ms a step of "
        f"{document['batch_size']:,}, {document['precision']}, kernels: {document['kernels']})\n"
        f"predict {_figure(rates['predict'])} images/s\n"
        f"compiled in {seconds_text(document['compile_seconds'])}\n"
    )


def time_table(document: dict[str, Any]) -> RenderableType:
    """A row per layer, their sum, and the step."""
    made = table("layer", "forward ms", "backward ms", "of the step", "GFLOP/s", "of peak")
    peak = document["peak_gflops"]
    for layer in document["layers"]:
        reached = (f"{layer['gflops']:,.1f}", f"{layer['gflops'] / peak:.0%}") if layer["gflops"] else ("", "")
        back = _figure(layer["backward_ms"]) if layer["backward_ms"] else ""
        made.add_row(Text(layer["name"]), _figure(layer["forward_ms"]), back, f"{layer['share']:.1%}", *reached)
    made.add_section()
    sums = (sum(layer[key] for layer in document["layers"]) for key in ("forward_ms", "backward_ms"))
    share = sum(layer["share"] for layer in document["layers"])
    made.add_row("sum", *map(_figure, sums), f"{share:.0%}", "", "")
    return made


def time_legend(document: dict[str, Any]) -> str:
    """What the figures mean and what they do not."""
    return (
        f"Medians for a batch of random images. Each layer is timed alone, a call of its own (which takes "
        f"{_figure(document['call_ms'])} ms even for nothing); in the step XLA fuses layers and adds loss, optimizer "
        f"and preprocessing, so the shares do not sum up to 100 %. Peak: {document['peak_gflops']:,.0f} GFLOP/s, "
        f"measured with a large {document['precision']} matrix product. GFLOP/s count the definition's operations; "
        "Winograd's algorithm for 3x3 convolutions multiplies 4 times where it does 9, and so may exceed the peak."
    )


def _figure(value: float) -> str:
    """Three digits that tell: 12,345, 123, 12.3, 0.123."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
