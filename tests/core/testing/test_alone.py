"""Kinds that no pipeline is built around, each broken in one way: the check that is for it says so."""

from pathlib import Path
from typing import Any

import pytest

from polyjanus.core.testing import cases_of
from polyjanus.core.testing.running import run_cases

GOOD = '''
"""A source, a template, a metric and a backbone that keep their contracts."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from polyjanus import hookimpl
from polyjanus.core.settings import BackboneConfig, MetricConfig, SourceConfig, TemplateConfig


class CountsConfig(SourceConfig):
    """Numbers and their successors."""

    type: Literal["counts"]
    path: str | None = Field(default=None, description="a file of numbers")

    def build(self, context):
        from polyjanus.core.data.rows import Source
        from polyjanus.core.errors import DataError

        if self.path and not Path(self.path).is_file():
            raise DataError(f"there is no file {self.path!r}")

        class Counts(Source):
            def __len__(self):
                return 9

            def row(self, index, noise):
                part = {"type": "count", "path": f"{index}.txt"}
                asked = {"role": "user", "content": [part, f"{noise.integers(9)}?"]}
                return {"messages": [asked, {"role": "assistant", "content": str(index + 1)}]}

        return Counts()


class PlainConfig(TemplateConfig):
    """Turns on lines of their own."""

    type: Literal["plain"]

    def build(self, context):
        from polyjanus.core.sequence.template import SpecialPiece, Template, TextPiece, part_pieces

        class Plain(Template):
            end_of_turn = "</s>"

            def pieces(self, messages, *, is_prompt):
                found = []
                for message in messages:
                    is_learned = message.role == "assistant"
                    found += [*part_pieces(message, is_learned=is_learned), SpecialPiece("</s>", is_learned)]
                return found

        return Plain()


class LuckConfig(MetricConfig):
    """How many answers are right."""

    type: Literal["luck"]

    def build(self, context):
        from polyjanus.core.evaluation import Metric, Score

        class Luck(Metric):
            def measure(self, pipeline, *, limit=None, seed=0):
                replies = pipeline.run_many(["two?"] * 4, ["text"], seed=seed)
                right = sum(reply.text == "no answer" for reply in replies)
                return Score.of(right, 4, input="text", output="text", judge="exact match")

        return Luck()


class SumsConfig(BackboneConfig):
    """What was seen so far, averaged."""

    type: Literal["sums"]

    def build(self, context):
        import torch
        from torch import nn
        from polyjanus.core.model.building import LanguageModel
        from polyjanus.core.modules import Backbone

        class Sums(Backbone):
            width, num_layers, kv_width, max_positions = 8, 1, 8, 64

            def forward(self, embeddings, positions, mask=None, cache=None):
                count = embeddings.shape[1]
                seen = torch.ones(1, count, count, dtype=torch.bool).tril() if mask is None else mask
                return seen.float() @ embeddings

        words = context.vocab_size
        return LanguageModel(Sums(), nn.Embedding(words, 8), nn.Linear(8, words), words)


@hookimpl
def register(registries):
    registries.sources.add(CountsConfig)
    registries.templates.add(PlainConfig)
    registries.metrics.add(LuckConfig)
    registries.backbones.add(SumsConfig)
'''
BROKEN: dict[str, tuple[str, str, str, str]] = {  # what is replaced, by what; the check, and a part of its sentence
    "rows of no messages": (
        'return {"messages": [asked',
        'return {"message": [asked',
        "source_rows_are_conversations",
        "expected a mapping with 'messages'; found a dict at row 0 (Counts.row in",
    ),
    "a role that is none": (
        '"role": "user"',
        '"role": "human"',
        "source_rows_are_conversations",
        "expected messages of 'role' and 'content', text or typed parts; found messages[0]: has the role 'human'",
    ),
    "nothing to learn": (
        '"role": "assistant"',
        '"role": "system"',
        "source_rows_are_conversations",
        "expected a message of the assistant to learn from",
    ),
    "rows that vary": (
        "str(index + 1)",
        "str(__import__('time').perf_counter())",
        "source_rows_are_repeatable",
        "expected the same row 8 in another order; found another row (Counts.row in",
    ),
    "rows that depend on their order": (
        "str(index + 1)",
        "str(self.__dict__.setdefault('first', index))",
        "source_rows_are_repeatable",
        "expected the same row 8 opened again; found another row (Counts.row in",
    ),
    "data that are silently not there": (
        "if self.path and not",
        "if False and not",
        "missing_data_are_told",
        "expected a DataError for a path that leads nowhere; found a source of 9 rows (CountsConfig.build in",
    ),
    "another exception for missing data": (
        'raise DataError(f"there is no file {self.path!r}")',
        "open(self.path)",
        "missing_data_are_told",
        "found FileNotFoundError",
    ),
    "a question that is learned": (
        'message.role == "assistant"',
        "True",
        "template_says_what_it_is_told",
        "expected the answer learned, and no question; found 'askedtold' (Plain.pieces in",
    ),
    "parts that are left out": (
        "found += [*part_pieces(message, is_learned=is_learned), ",
        "texts = [TextPiece(each.text, is_learned) for each in message.parts if hasattr(each, 'text')]\n"
        "                    found += [*texts, ",
        "template_says_what_it_is_told",
        "expected each part once; found []",
    ),
    "a share above one": (
        "return Score.of(right, 4, ",
        "return Score(score=1.5, low=1.4, high=1.6, n=4, ",
        "scores_are_shares",
        "expected a share within its interval; found",
    ),
    "a score that varies": (
        'right = sum(reply.text == "no answer" for reply in replies)',
        "self.asked = getattr(Luck, 'asked', 0)\n                Luck.asked = right = self.asked + 1",
        "scores_are_shares",
        "expected the same score again",
    ),
    "a backbone that sees what comes": (
        ".tril() if mask",
        " if mask",
        "backbone_keeps_to_its_past",
        "expected positions that do not see later ones; found other hidden states (Sums.forward in",
    ),
    "a backbone that forgets its mask": (
        "if mask is None else mask",
        "if True else mask",
        "backbone_keeps_to_its_past",
        "expected documents that do not see each other",
    ),
    "a backbone of another width": (
        "width, num_layers, kv_width, max_positions = 8,",
        "width, num_layers, kv_width, max_positions = 0,",
        "backbone_keeps_to_its_past",
        "expected width, above 0; found 0",
    ),
}


def failures(file: Path, source: str, *checks: str) -> list[Any]:
    file.write_text(source.lstrip(), encoding="utf-8")
    cases = [case for case in cases_of(file) if not checks or case.check.name in checks]
    return [result for result in run_cases(cases) if result.outcome != "passed"]


def test_the_plugin_that_is_broken_below_is_whole(tmp_path: Path) -> None:
    assert failures(tmp_path / "good.py", GOOD) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_part_is_caught_by_the_check_that_is_for_it(tmp_path: Path, name: str) -> None:
    mine, theirs, check, sentence = BROKEN[name]
    assert mine in GOOD
    (found,) = failures(tmp_path / "broken.py", GOOD.replace(mine, theirs, 1), check)
    assert found.outcome == "failed" and sentence in found.message and "broken.py" in found.message
