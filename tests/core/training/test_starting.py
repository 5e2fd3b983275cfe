"""Starting from other checkpoints part by part, and one process per run."""

from typing import Any

import pytest
import torch

from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest
from polyjanus.core.errors import PolyjanusError, TrainingError
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training.holding import held

HEAD = "image.generate.head"


def test_a_part_starts_from_a_run_and_all_else_stays_fresh(runs: Any) -> None:
    runs.training("first").run()
    fresh = runs.training("fresh").model.state_dict()
    started = runs.training("second", f"training.init_from={{{HEAD}: ./first}}")
    folder = newest(runs.home / "first" / CHECKPOINTS)
    trained = Pipeline.from_pretrained(folder or "", plugins=runs.plugins, device="cpu").model.state_dict()
    assert any(not torch.equal(trained[name], fresh[name]) for name in trained if name.startswith(HEAD))
    for name, value in started.model.state_dict().items():
        assert torch.equal(value, (trained if name.startswith(f"{HEAD}.") else fresh)[name]), name
    (told,) = started.pipeline.started
    assert (told.reused, told.unfit, told.missing) == (4, (), ())
    assert str(told) == f"{HEAD} from ./first: 4 tensors reused"


def test_what_has_another_shape_is_re_initialised_and_told(runs: Any) -> None:
    runs.training("first").run()
    wider = "modalities.image.generate.embedding.width=6"
    (told,) = runs.training("second", wider, "training.init_from={image.generate: ./first}").pipeline.started
    assert any("embedding" in name for name in told.unfit) and told.reused > 4
    assert "re-initialised, another shape (image.generate.adaptor" in str(told)


WAVE = (
    "{type: timeseries, channels: [a], sample_rate: 20,"
    " generate: {codec: {type: fsq1d, patch: 8, seconds: 0.8, levels: [4, 4], width: 16}}}"
)


def test_marks_of_what_was_written_before_stay_where_another_modality_is_added(runs: Any) -> None:
    first = runs.training("first")
    first.run()
    fresh = runs.training("fresh", f"modalities.wave={WAVE}").model
    added = runs.training("second", f"modalities.wave={WAVE}", "training.init_from={marks: ./first}")
    assert str(added.pipeline.started[0]) == "marks from ./first: 2 tensors reused; new marks: wave"
    for name in ("embedding", "head"):
        old, new, drawn = (getattr(model.part("marks"), name).weight for model in (first.model, added.model, fresh))
        assert torch.equal(new[:2], old) and torch.equal(new[2:], drawn[2:]) and len(new) == 4
    backwards = runs.yaml.replace("modalities:\n", f"modalities:\n  wave: {WAVE}\n")
    runs.yaml = backwards
    moved = runs.training("third", "training.init_from={marks: ./first}").model.part("marks")
    assert torch.equal(moved.embedding.weight[2:], first.model.part("marks").embedding.weight)


@pytest.mark.parametrize(
    ("sources", "words"),
    [("{image.generate.haed: ./first}", "did you mean 'image.generate.head"), ("{text: ./none}", "none")],
)
def test_a_part_or_a_checkpoint_that_is_not_there_is_named(runs: Any, sources: str, words: str) -> None:
    with pytest.raises(PolyjanusError, match=words):
        runs.training("x", f"training.init_from={sources}")


def test_two_runs_in_one_folder_are_refused(runs: Any) -> None:
    training = runs.training("x")
    with held(training.folder), pytest.raises(TrainingError, match="another process trains in this run"):
        training.run()
    training.run()
