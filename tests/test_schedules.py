"""Learning rates at every step, against PyTorch's schedulers and what the words of a config say."""

import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cnncli.config.reader import read_value
from cnncli.schedules import (
    SCHEDULES,
    AnySchedule,
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    OneCycleSchedule,
    StepSchedule,
)

LR = 0.3
few = settings(max_examples=10, deadline=None)
totals, ends = st.integers(1, 30), st.floats(0, 1)
read = TypeAdapter(AnySchedule).validate_python


def rates(schedule, total, per_epoch=5):
    """The rate of every step of a training."""
    rate = schedule.build(LR, per_epoch, total)
    always = jnp.arange(50)  # one shape for all tests: nothing is compiled twice
    return np.asarray(jax.vmap(lambda step: jnp.asarray(rate(step), jnp.float32))(always))[:total]


def torch_rates(torch, total, make):
    """The same from one of PyTorch's schedulers."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], LR)
    scheduler, found = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(found)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_constant():
    close(rates(ConstantSchedule(), 7), [LR] * 7)


@few
@given(total=totals, end=ends)
def test_cosine(torch, total, end):
    expected = torch_rates(torch, total, lambda s, o: s.CosineAnnealingLR(o, total, eta_min=LR * end))
    close(rates(CosineSchedule(end=end), total), expected)


@few
@given(total=totals, end=ends)
def test_linear(torch, total, end):
    expected = torch_rates(torch, total, lambda s, o: s.LinearLR(o, 1.0, end, total))
    close(rates(LinearSchedule(end=end), total), expected)


@few
@given(total=totals, drops=st.lists(st.integers(0, 30), max_size=4), factor=st.floats(0.05, 2))
def test_step(torch, total, drops, factor):
    """A time that is named twice counts twice."""
    expected = torch_rates(torch, total, lambda s, o: s.MultiStepLR(o, [drop for drop in drops if drop], factor))
    at = tuple(f"{drop} steps" for drop in drops)
    close(rates(StepSchedule(at=at, factor=factor), total), expected * factor ** drops.count(0))


@few
@given(total=totals, factor=st.floats(0.5, 1.5))
def test_exponential_every_step(torch, total, factor):
    expected = torch_rates(torch, total, lambda s, o: s.ExponentialLR(o, factor))
    close(rates(ExponentialSchedule(factor=factor, every="1 step"), total), expected)


def test_exponential_reaches_the_factor_after_an_epoch_and_its_root_half_way():
    found = rates(ExponentialSchedule(factor=0.25), 21, per_epoch=10)
    close(found[[0, 10, 20]], LR * np.array([1, 0.25, 0.0625]))
    close(found[[5, 15]], LR * np.array([0.5, 0.125]))


@few
@given(total=st.integers(4, 40), peak=st.floats(0.05, 0.95), start=st.floats(0.01, 1), end=st.floats(1e-6, 1e-2))
def test_one_cycle(torch, total, peak, start, end):
    assume(peak * total > 1.01)
    expected = torch_rates(torch, total, lambda s, o: s.OneCycleLR(
        o, LR, total_steps=total, pct_start=peak, div_factor=1 / start, final_div_factor=start / end,
        cycle_momentum=False))  # fmt: skip
    close(rates(OneCycleSchedule(peak=peak, start=start, end=end), total), expected)


@pytest.mark.parametrize("total", [4, 10, 50])
def test_one_cycle_by_default_is_pytorchs_by_default(torch, total):
    expected = torch_rates(torch, total, lambda s, o: s.OneCycleLR(o, LR, total_steps=total, cycle_momentum=False))
    close(rates(OneCycleSchedule(), total), expected)


@few
@given(warmup=st.integers(1, 10), total=st.integers(1, 30))
def test_warmup_climbs_from_0_and_the_schedule_has_the_rest(warmup, total):
    found = rates(CosineSchedule(warmup=f"{warmup} steps"), total)
    climb = LR * np.arange(warmup) / warmup
    after = rates(CosineSchedule(), max(total - warmup, 1))
    close(found, np.concatenate([climb, after])[:total])


@pytest.mark.parametrize("total", [1, 2, 3])
def test_a_cycle_too_short_to_climb_begins_at_the_top(total):
    found = rates(OneCycleSchedule(), total)
    assert found[0] == pytest.approx(LR)
    assert (np.diff(found) < 0).all()


def test_warmup_climbs_to_where_the_schedule_begins():
    found = rates(OneCycleSchedule(warmup="4 steps", start=0.1), 24)
    close(found[:5], LR * 0.1 * np.arange(5) / 4)
    assert found.max() == pytest.approx(LR)
    found = rates(StepSchedule(at=("1 step",), warmup="4 steps"), 8)
    close(found, LR * 0.1 * np.array([0, 0.25, 0.5, 0.75, 1, 1, 1, 1]))


def test_drops_count_from_the_start_of_training_whatever_the_warmup():
    plain, warm = (rates(StepSchedule(at=("50 %", "3 epochs"), warmup=warmup), 20) for warmup in ("0 steps", "1 epoch"))
    close(warm[5:], plain[5:])
    close(plain, LR * np.repeat([1, 0.1, 0.01], [10, 5, 5]))


@pytest.mark.parametrize("at", ["2 epochs", "2.0 epochs", "10 steps", "10 step", "50 %", "50%"])
def test_the_same_time_in_other_words(at):
    close(rates(StepSchedule(at=(at,)), 20), LR * np.repeat([1, 0.1], 10))


@pytest.mark.parametrize(
    ("written", "last"),
    [
        ("constant", LR),
        ("linear", LR / 20),
        ({"linear": 0.5}, LR * (0.5 + 0.5 / 20)),
        ("cosine", LR * (1 - math.cos(math.pi / 20)) / 2),
        ({"cosine": {"end": 0.1}}, LR * (0.1 + 0.9 * (1 - math.cos(math.pi / 20)) / 2)),
        ({"step": ["25 %", "50 %", "95 %"]}, LR / 1000),
        ({"exponential": {"factor": 0.5, "every": "50 %"}}, LR * 0.5 ** (19 / 10)),
        ({"one_cycle": 0.5}, LR * 4e-6),
    ],
)
def test_the_rate_of_the_last_step(written, last):
    found = rates(read(written), 20)
    close(found[-1], last)
    assert (found > 0).all()


@pytest.mark.parametrize(
    "schedule", [CosineSchedule(end=0.2), LinearSchedule(end=0.2), OneCycleSchedule(end=0.2)], ids=lambda s: s.kind
)
def test_training_that_goes_on_stays_at_the_end(schedule):
    rate = schedule.build(LR, 5, 20)
    close([float(rate(step)) for step in (20, 21, 1000)], [0.2 * LR] * 3)


@pytest.mark.parametrize("kind", [schedule.kind for schedule in SCHEDULES])
@pytest.mark.parametrize("warmup", ["0 steps", "3 steps"])
def test_outside_the_compiled_step_it_is_the_same(kind, warmup):
    fields = {"step": {"at": ["4 steps"]}, "exponential": {"factor": 0.5}}.get(kind, {})
    schedule = read({kind: {**fields, "warmup": warmup}})
    rate = schedule.build(LR, 5, 10)
    close([float(rate(step)) for step in range(10)], rates(schedule, 10))


@pytest.mark.parametrize("member", SCHEDULES, ids=lambda member: member.kind)
def test_the_example_in_the_docstring_reads_and_reads_back(member):
    written = re.search("Example: `(.+?)`", inspect.getdoc(member))[1]
    schedule = read(read_value(written, "example").plain())
    assert type(schedule) is member
    assert read(schedule.to_yaml()) == schedule
    assert all(info.description for info in member.model_fields.values())


@pytest.mark.parametrize(
    "wrong",
    [{"cosine": 1.5}, {"linear": -0.1}, {"linear": 2}, {"step": {"at": ["5"]}}, {"step": {"at": ["-1 steps"]}},
     {"one_cycle": {"peak": 1}}, {"exponential": 0}, {"exponential": {"factor": 0.5, "every": "0 steps"}},
     {"cosine": {"warmup": "5 minutes"}}, "step"],
)  # fmt: skip
def test_what_makes_no_rate_is_refused(wrong):
    with pytest.raises(ValidationError):
        read(wrong)
