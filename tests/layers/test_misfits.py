"""What does not fit is refused, with its numbers and a way out."""

import pytest

from cnncli.errors import ShapeError
from cnncli.graph import GraphError
from tests.helpers.layers import layer_of, network


@pytest.mark.parametrize(
    ("written", "shape", "says"),
    [
        ({"conv": {"filters": 6, "kernel": 5}}, (3, 3, 8), ["5x5", "3x3x8", "kernel: 3"]),
        ({"conv": {"filters": 6, "groups": 4}}, (8, 8, 6), ["groups 4", "6 input channels", "groups: 3"]),
        ({"conv": {"filters": 2, "connections": [[0]]}}, (8, 8, 6), ["1 lists", "2 filters"]),
        ({"conv": {"filters": 2, "connections": [[0], [6]]}}, (8, 8, 6), ["connections[1]", "[6]", "0 to 5"]),
        ({"conv": {"filters": 2, "connections": [[0], []]}}, (8, 8, 6), ["connections[1]", "[]"]),
        ({"conv": {"filters": 2, "connections": [[0], [1, 1]]}}, (8, 8, 6), ["connections[1]", "[1, 1]"]),
        ({"conv": {"filters": 2, "groups": 2, "connections": [[0], [1]]}}, (8, 8, 6), ["groups 2"]),
        ({"conv": {"filters": 2, "kernel": 5, "init": {"sobel": "x"}}}, (8, 8, 1), ["3x3", "5x5", "kernel: 3"]),
        ({"conv": {"filters": 2, "init": {"given": [[1, 2]]}}}, (8, 8, 1), ["1x2", "3x3x1x2", "3x3"]),
        ({"conv": {"filters": 2, "bias_init": "laplacian"}}, (8, 8, 1), ["laplacian", "2 weights"]),
        ({"fc": {"units": 2, "init": {"gaussian": 1.0}}}, (8,), ["gaussian", "8x2"]),
        ({"locally_connected": {"filters": 2, "init": "identity"}}, (8, 8, 1), ["identity", "6x6x3x3x1x2"]),
        ({"locally_connected": {"filters": 2, "kernel": 9}}, (8, 8, 1), ["9x9", "8x8x1"]),
        ({"conv_transpose": {"filters": 2, "stride": 2, "output_padding": 2}}, (8, 8, 1), ["padding 2", "stride 2"]),
        ({"conv_transpose": {"filters": 2, "padding": 4}}, (3, 3, 1), ["padding 4", "-3x-3"]),
        ({"conv_transpose": {"filters": 2, "groups": 2}}, (3, 3, 1), ["groups 2", "1 input channels"]),
        ({"conv_transpose": 2}, (9,), ["height x width", "9"]),
        ({"upsample": [2, 2]}, (9, 3), ["2 numbers", "9x3"]),
        ({"group_norm": 4}, (8, 8, 6), ["groups 4", "6 channels", "groups: 3"]),
        ({"pad_channels": 3}, (8, 8, 6), ["8x8x6", "more than 3"]),
        ("rbf", (80,), ["84", "80", "fc: 84"]),
        ("global_max_pool", (80,), ["80", "flatten"]),
        ({"maxout": 4}, (6,), ["pieces 4", "6 channels", "8"]),
        ({"stochastic_pool": {"kernel": 2, "padding": 2}}, (8, 8, 1), ["padding 2", "2x2"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_with_its_numbers(written, shape, says):
    with pytest.raises(ShapeError) as caught:
        layer_of(written).resolve(shape)
    text = f"{caught.value} {caught.value.hint}"
    assert caught.value.hint or "numbers" in text
    for part in says:
        assert part in text


def test_unpooling_needs_a_max_pool_of_its_shape():
    for layers, says in (
        ([{"avg_pool": 2, "name": "p"}, {"max_unpool": "p"}], "avg_pool"),
        ([{"max_pool": 2, "name": "p"}, {"conv": 3}, {"max_unpool": "p"}], "3x3x1"),
        ([{"max_unpool": "p"}], "no earlier layer 'p'"),
    ):
        with pytest.raises(GraphError, match=says):
            network(*layers, shape=(6, 6, 1) if "p" in str(layers[0]) else (6, 6))
