"""``cnn doctor --selftest``: what it says, and that it would notice."""

import json

import pytest

from cnncli import selftest
from cnncli.selftest import Check
from tests.helpers.commands import runner


@pytest.fixture
def cnn(monkeypatch, capsys):
    return runner(monkeypatch, capsys)


@pytest.mark.parametrize("passed", [True, False])
def test_a_failed_check_is_exit_code_4_in_words_and_in_json(cnn, monkeypatch, passed):
    checks = [Check("kill and resume", True, "5 bytes equal"), Check("flip a bit", passed, "bit 3 flipped")]
    monkeypatch.setattr(selftest, "selftest", lambda say: checks)
    left = cnn("doctor", "--selftest")
    assert left.code == (0 if passed else 4)
    assert f"{'passed' if passed else 'FAILED'}  flip a bit: bit 3 flipped" in left.out
    left = cnn("doctor", "--selftest", "--json")
    document = json.loads(left.out)
    assert document["passed"] == passed
    assert document["checks"][1] == {"name": "flip a bit", "passed": passed, "words": "bit 3 flipped"}


def test_bytes_that_differ_are_a_failure(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints" / "step-00000012").mkdir(parents=True)
    (run / "checkpoints" / "step-00000012" / "state.json").write_bytes(b"{}")
    (run / "metrics.jsonl").write_bytes(b"")
    done = selftest.Done([], 0, "", "")
    assert selftest._verdict("x", done, run, {"state.json": b"{}"}, "tried").passed
    failed = selftest._verdict("x", done, run, {"state.json": b"{ }"}, "tried")
    assert not failed.passed
    assert failed.words == "tried: state.json differ"
    assert not selftest._verdict("x", selftest.Done([], 5, "", "error: bad"), run, {}, "tried").passed


@pytest.mark.slow
def test_this_machine_passes():
    said = []
    checks = selftest.selftest(said.append)
    assert [check.name for check in checks] == ["kill and resume", "flip a bit", "refuse to write"]
    assert all(check.passed for check in checks), checks
    assert "killed 3 of 3 times" in said
