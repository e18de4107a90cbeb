"""Runs that older programs wrote: each format stays in git, loads, computes what it did, and goes on."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cnncli.evaluate import evaluate_run
from cnncli.runs import checkpoint
from cnncli.runs.directory import Run
from cnncli.train.checkpointing import open_trained
from cnncli.train.events import Events
from cnncli.train.trainer import resume

GOLDEN = Path(__file__).parents[1] / "runs" / "golden"
FORMATS = [f"format-{version}" for version in checkpoint.FORMATS]


def test_every_format_has_its_golden_run():
    assert sorted(path.name for path in GOLDEN.iterdir()) == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_an_old_run_evaluates_to_what_it_measured_and_goes_on(tmp_path, name):
    run = Run(Path(shutil.copytree(GOLDEN / name, tmp_path / name)))
    before = (run.checkpoints / "step-00000012" / "params.safetensors").read_bytes()
    assert open_trained(run.folder).saved.classes == ("even", "odd")
    measured = run.metric_lines()[-1]["val"]
    found = evaluate_run(run.folder, "val", "best", Events()).document()
    assert found["accuracy"] == measured["accuracy"]
    np.testing.assert_allclose(found["loss"], measured["loss"], rtol=1e-5)
    resume(run.folder, ["train.epochs=5"], Events())
    assert [line["epoch"] for line in run.metric_lines() if line["kind"] == "epoch"] == [1, 2, 3, 4, 5]
    manifests = checkpoint.manifests(run.checkpoints)
    assert manifests[-1].step == 15
    assert checkpoint.read_manifest(manifests[-1].folder).files  # what is written anew is of today's format
    if (run.checkpoints / "step-00000012").exists():
        assert (run.checkpoints / "step-00000012" / "params.safetensors").read_bytes() == before
