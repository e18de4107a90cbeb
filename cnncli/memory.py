"""How much memory a training takes, estimated from the graph before anything is allocated; which batch fits.

Counted are the weights with what the optimizer keeps of them, one gradient of each, the training images, and the
outputs of every layer for a batch, once: they wait for the backward pass. XLA fuses some layers and needs working
memory for others, so this is an estimate; tests/test_memory.py compares it with the compiled programs' own figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncli.errors import MachineError, ran_out_of_memory
from cnncli.graph import FLOAT_BYTES, Graph
from cnncli.machine import available_memory
from cnncli.text import in_bytes

if TYPE_CHECKING:
    import jax

# Share of the free memory that an automatic batch may fill. On a CPU a process grows to twice what its programs take:
# the allocator cuts small blocks out of a freed large one, and the next call takes fresh memory (measured: 2.0 times).
SHARE, CPU_SHARE = 0.8, 0.4


@dataclass(frozen=True)
class Estimate:
    """Bytes on each device. ``fixed``: with any batch; ``per_image``: for each image of a batch.

    ``at_end``: when the best checkpoint is evaluated, whose weights are read beside the training's own state.
    """

    fixed: int
    per_image: int
    at_end: int = 0

    def of(self, images: int) -> int:
        """Bytes of a training with ``images`` in a batch."""
        return max(self.fixed + images * self.per_image, self.at_end)

    def largest(self, free: int) -> int:
        """The largest batch, a power of two, that fits into ``free`` bytes; 0 if not one image does."""
        images = (free - self.fixed) // self.per_image
        return 1 << (images.bit_length() - 1) if images > 0 else 0


def estimate(graph: Graph, state: int, data: int, number: int = FLOAT_BYTES, devices: int = 1) -> Estimate:
    """What training of ``graph`` takes.

    In bytes, ``state``: weights and the optimizer's arrays; ``data``: training images; ``number``: one value of a
    layer's output. ``devices``: a batch is divided among them.
    """
    grads = evaluated = FLOAT_BYTES * sum(node.trainable_params for node in graph.nodes)
    outputs = sum(node.activation_bytes for node in graph.nodes) // FLOAT_BYTES * number
    image = FLOAT_BYTES * math.prod(graph.input_shape)
    return Estimate(state + grads + data, -(-(outputs + image) // devices), 2 * state + evaluated + data)


def free_memory(device: jax.Device) -> int | None:
    """Free bytes of a device; None if they are not known."""
    figures = None if device.platform == "cpu" else device.memory_stats()
    return figures["bytes_limit"] - figures["bytes_in_use"] if figures else available_memory()


def auto_share(device: jax.Device) -> float:
    """Share of a device's free memory that an automatic batch may fill."""
    return CPU_SHARE if device.platform == "cpu" else SHARE


def warning(need: Estimate, images: int, free: int | None) -> str:
    """A sentence if a batch will probably not fit, else nothing."""
    if free is None or need.of(images) <= free:
        return ""
    return (f"this needs about {in_bytes(need.of(images))} of memory ({in_bytes(need.per_image)} for each image of a "
            f"batch), {in_bytes(free)} are free. {advice(need.largest(free), images)}")  # fmt: skip


def advice(fits: int, images: int) -> str:
    """What to try instead of ``images`` in a batch. ``fits``: how many fit by the estimate, which may be too high."""
    smaller = min(fits, 1 << ((images - 1).bit_length() - 1) if images > 1 else 0)
    return f"Try train.batch_size={smaller}." if smaller else "Make the network or its input smaller."


@contextmanager
def guard(need: Estimate, images: int, free: int | None, note: Callable[[str], None]) -> Iterator[None]:
    """Warn if the block will probably not fit; if it did not, MachineError (exit 4) names a batch size that would."""
    if text := warning(need, images, free):
        note(text)
    try:
        yield
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        hint = advice(need.largest(free) if free is not None else images, images)
        raise MachineError.of(f"out of memory with {images} images a step", hint) from error


def program_bytes(program: jax.stages.Compiled) -> int:
    """What a compiled program takes on a device by its own figures; 0 if it has none."""
    figures = program.memory_analysis()
    if figures is None:
        return 0
    both = figures.argument_size_in_bytes + figures.output_size_in_bytes - figures.alias_size_in_bytes
    return int(both + figures.temp_size_in_bytes)
