"""How much memory a training takes, told from the static table before anything is allocated; the batch that fits.

Counted are the weights with what the optimizer keeps of them, one gradient of each, the training images, and the
outputs of every layer for a batch, once: they wait for the backward pass. XLA fuses some layers and needs room to work
for others, so the figure is an estimate; tests/test_memory.py holds it against the compiled programs' own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cnncli.errors import MachineError, ran_out_of_memory
from cnncli.graph import FLOAT_BYTES, Graph
from cnncli.machine import available_memory
from cnncli.text import in_bytes

# Of the free memory that an automatic batch may fill. On a CPU a process grows to twice what its programs take: the
# allocator cuts small blocks out of a freed large one, and the next call takes fresh memory (measured: 2.0 times).
SHARE, CPU_SHARE = 0.8, 0.4


@dataclass(frozen=True)
class Need:
    """Bytes on each device. ``fixed``: whatever the batch; ``per_image``: for each image of a batch.

    ``at_end``: when the best checkpoint is measured, and read for that beside all that training carries.
    """

    fixed: int
    per_image: int
    at_end: int = 0

    def of(self, images: int) -> int:
        """Bytes of a training with so many images a step."""
        return max(self.fixed + images * self.per_image, self.at_end)

    def largest(self, free: int) -> int:
        """The largest power of two of images a step that fits into ``free`` bytes, 0 where not one does."""
        images = (free - self.fixed) // self.per_image
        return 1 << (images.bit_length() - 1) if images > 0 else 0


def need(graph: Graph, carried: int, data: int, number: int = FLOAT_BYTES, devices: int = 1) -> Need:
    """What a training of ``graph`` needs.

    ``carried``: bytes of all that goes from step to step; ``data``: of the training images; ``number``: of one number
    that a layer computes; ``devices``: among which a batch is divided.
    """
    gradients = evaluated = FLOAT_BYTES * sum(node.trainable_params for node in graph.nodes)
    outputs = sum(node.activation_bytes for node in graph.nodes) // FLOAT_BYTES * number
    image = FLOAT_BYTES * math.prod(graph.input_shape)
    return Need(carried + gradients + data, -(-(outputs + image) // devices), 2 * carried + evaluated + data)


def share(device: Any) -> float:
    """Share of a JAX device's free memory that an automatic batch may fill."""
    return CPU_SHARE if device.platform == "cpu" else SHARE


def free_memory(device: Any) -> int | None:
    """Bytes that may still be filled on a JAX device, or None where nobody says."""
    figures = None if device.platform == "cpu" else device.memory_stats()
    return figures["bytes_limit"] - figures["bytes_in_use"] if figures else available_memory()


def warning(need: Need, images: int, free: int | None) -> str:
    """In words that a batch will probably not fit, or nothing."""
    if free is None or need.of(images) <= free:
        return ""
    return (f"this needs about {in_bytes(need.of(images))} of memory ({in_bytes(need.per_image)} for each image of a "
            f"batch), {in_bytes(free)} are free. {advice(need.largest(free), images)}")  # fmt: skip


def advice(fits: int, images: int) -> str:
    """What to try instead of ``images`` a step where ``fits`` are estimated to fit, which may be too many."""
    smaller = min(fits, 1 << ((images - 1).bit_length() - 1) if images > 1 else 0)
    return f"Try train.batch_size={smaller}." if smaller else "Make the network or its input smaller."


@contextmanager
def told(need: Need, images: int, free: int | None) -> Iterator[None]:
    """Running out of memory in words (exit 4), with a batch size that would fit."""
    try:
        yield
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        hint = advice(need.largest(free) if free is not None else images, images)
        raise MachineError.of(f"out of memory with {images} images a step", hint) from error


def program_bytes(program: Any) -> int | None:
    """What a compiled program says that it takes on a device, or None where it does not say."""
    figures = program.memory_analysis()
    if figures is None:
        return None
    both = figures.argument_size_in_bytes + figures.output_size_in_bytes - figures.alias_size_in_bytes
    return int(both + figures.temp_size_in_bytes)
