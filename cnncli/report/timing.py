"""``cnn time``: rates of the whole network and a table of its layers."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cnncli.report.console import dim
from cnncli.report.tables import make_table
from cnncli.report.text import figure_text, seconds_text


def rendered(document: dict[str, Any]) -> RenderableType:
    """The document of ``timing.measure`` as text: rates, a row per layer and one for the sum, what the figures mean."""
    rates, layers, peak = document["images_per_second"], document["layers"], document["peak_gflops"]
    summary = (
        f"train   {figure_text(rates['train'])} images/s  ({figure_text(document['step_ms'])} ms a step of "
        f"{document['batch_size']:,}, {document['precision']}, kernels: {document['kernels']})\n"
        f"predict {figure_text(rates['predict'])} images/s\n"
        f"compiled in {seconds_text(document['compile_seconds'])}\n"
    )
    table = make_table("layer", "forward ms", "backward ms", "of the step", "GFLOP/s", "of peak")
    for layer in layers:
        speed = (f"{layer['gflops']:,.1f}", f"{layer['gflops'] / peak:.0%}") if layer["gflops"] else ("", "")
        backward = figure_text(layer["backward_ms"]) if layer["backward_ms"] else ""
        table.add_row(Text(layer["name"]), figure_text(layer["forward_ms"]), backward, f"{layer['share']:.1%}", *speed)
    forward, backward, share = (sum(layer[key] for layer in layers) for key in ("forward_ms", "backward_ms", "share"))
    table.add_section()
    table.add_row("sum", figure_text(forward), figure_text(backward), f"{share:.0%}", "", "")
    legend = (
        f"Medians for a batch of random images. Each layer is timed alone, a call of its own (which takes "
        f"{figure_text(document['call_ms'])} ms even for nothing); in the step XLA fuses layers and adds loss, "
        f"optimizer and preprocessing, so the shares do not sum up to 100 %. Peak: {peak:,.0f} GFLOP/s, "
        f"measured with a large {document['precision']} matrix product. GFLOP/s count the definition's operations; "
        "Winograd's algorithm for 3x3 convolutions multiplies 4 times where it does 9, and so may exceed the peak."
    )
    return Group(Text(summary), table, dim(legend))
