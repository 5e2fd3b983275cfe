"""A pipeline as a judge: probabilities of answers, and the best of several replies."""

import json
from math import exp, prod
from pathlib import Path
from typing import Any

import pytest
import torch

from polyjanus.core.cli import main
from polyjanus.core.errors import UsageError
from polyjanus.core.rating import best_of, probability, rate
from polyjanus.core.sequence.packing import causal_mask


def test_a_probability_is_the_product_of_those_of_the_tokens_and_of_the_end(tiny: Any, picture: Any) -> None:
    found = probability(tiny, [picture, "what?"], "ab")
    batch = tiny.collate([[*tiny.messages([picture, "what?"]), {"role": "assistant", "content": "ab"}]])
    with torch.no_grad():
        embeddings, _ = tiny.model.embed(batch)
        logits = tiny.model.text_logits(
            tiny.model.hidden(embeddings, batch["positions"], causal_mask(batch["documents"]))
        ).log_softmax(-1)
    learned = batch["targets"][0] != -100
    assert int(learned.sum()) == 4  # a blank, a, b, the end
    tokens = [exp(float(logits[0, at, batch["targets"][0, at]])) for at in learned.nonzero()[:, 0]]
    assert found == pytest.approx(prod(tokens), rel=1e-4)


def test_the_best_reply_is_the_one_of_the_highest_probability_and_is_among_the_replies(tiny: Any) -> None:
    reply, rated = best_of(tiny, "draw", ["image"], count=4, question="what?", answer="a", seed=3)
    assert len(set(rated)) > 1
    assert rate(tiny, reply.parts, "what?", "a") == pytest.approx(max(rated), rel=1e-5)
    replies = tiny.run_many(["draw"] * 4, ["image"], seed=3)
    assert [rate(tiny, each.parts, "what?", "a") for each in replies] == pytest.approx(rated, rel=1e-5)


def test_of_several_media_each_must_be_what_is_asked(tiny: Any, picture: Any) -> None:
    part = {"type": "image", "image": picture}
    one = rate(tiny, [part], "what?", "a")
    assert rate(tiny, [part, {"type": "text", "text": "x"}, part], "what?", "a") == pytest.approx(one**2, rel=1e-5)
    with pytest.raises(UsageError, match="nothing to score"):
        rate(tiny, [{"type": "text", "text": "x"}], "what?")


@pytest.fixture(scope="module")
def checkpoint(make_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny().save(tmp_path_factory.mktemp("model") / "tiny"))


def test_run_scores_what_is_given_and_keeps_the_best_of_what_it_writes(
    checkpoint: str, tmp_path: Path, picture: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    picture.save(tmp_path / "a.png")
    asked = ["--score", "what?", "--answer", "a", "--json"]
    assert main(["run", checkpoint, "--image", str(tmp_path / "a.png"), *asked]) == 0
    (given,) = json.loads(capsys.readouterr().out)["scores"]
    assert 0 < given < 1
    drawn = ["run", checkpoint, "draw", "--output", "image", *asked]
    assert main([*drawn, "-o", str(tmp_path / "one.png")]) == 0
    (one,) = json.loads(capsys.readouterr().out)["scores"]
    assert main([*drawn, "-o", str(tmp_path / "best.png"), "--best-of", "5"]) == 0
    (best,) = json.loads(capsys.readouterr().out)["scores"]
    assert best > one and (tmp_path / "best.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["draw", "--best-of", "2"], "needs a question"),
        (["--image", "x.png", "--score", "a?", "--best-of", "2"], "prompt"),
    ],
)
def test_the_best_of_nothing_is_refused(
    checkpoint: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", checkpoint, *words]) == 2
    assert said in capsys.readouterr().err
