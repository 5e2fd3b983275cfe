"""What was computed before gives the losses that computing gives, to the bit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from polyjanus.core.errors import SequenceError
from polyjanus.core.features import Kept
from polyjanus.core.keeping.shards import Shelf
from polyjanus.core.model.checks import encoded_codes, encoded_features
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.sequence.packing import collate

ENCODER = "image.understand.encoder"


def test_losses_are_equal_to_the_bit_and_nothing_is_decoded_or_encoded(
    work: Any, forbid: Callable[[Pipeline], None]
) -> None:
    before = work.train("before")
    assert work.of(work.precompute("--features")) == (4, 0, 4)
    assert work.train("after", change=forbid) == before
    assert len({record["loss"] for record in before}) == 3


@pytest.mark.parametrize("features", [(), ("--features",)])
def test_losses_are_equal_where_a_batch_holds_hits_and_misses(work: Any, features: tuple[str, ...]) -> None:
    before = work.train("before")
    report = work.precompute("--limit", "3", *features)
    assert work.of(report) == (1, 0, 1)
    pipeline, kinds = work.pipeline(), set[tuple[int, bool]]()
    pipeline.model.requires_grad_(False)
    for row in range(work.rows):
        part = {"type": "image", "path": str(work.home / f"{row}.png")}
        said = [{"role": "user", "content": [part]}, {"role": "assistant", "content": [part]}]
        items = pipeline.compile(said, is_prompt=False).items
        kinds |= {(place, isinstance(item, Kept)) for place, item in enumerate(items)}
    assert kinds == {(0, False), (1, False), (1, True)} | ({(0, True)} if features else set())
    assert work.train("after") == before


@pytest.mark.parametrize("places", [(0, 1, 2, 3), (1, 3), (0, 2), (3,), ()])
def test_kept_and_computed_items_keep_their_order(tiny: Any, picture: Any, places: tuple[int, ...]) -> None:
    codec, encoder = (tiny.parts.modules[path] for path in ("image.generate.codec", ENCODER))
    pictures = [picture.rotate(50 * turn) for turn in range(4)]
    codes = encoded_codes(codec, [codec.prepare(each) for each in pictures])
    features = encoded_features(encoder, [encoder.prepare(each) for each in pictures])
    values, grids = features.split(), features.grids or [None] * 4
    mixed: list[Any] = [codec.prepare(each) for each in pictures]
    mixed_too: list[Any] = [encoder.prepare(each) for each in pictures]
    for place in places:
        mixed[place], mixed_too[place] = Kept(codes[place]), Kept(values[place], grids[place])
    assert all(torch.equal(*pair) for pair in zip(encoded_codes(codec, mixed), codes, strict=True))
    found = encoded_features(encoder, mixed_too)
    assert torch.equal(found.values, features.values)
    assert (found.lengths, found.grids) == (features.lengths, features.grids)


def test_an_encoder_that_is_trained_learns_from_what_it_computes(work: Any) -> None:
    stage = "training.stages.0.train=[backbone, image]"
    before = work.train("before", stage)
    work.precompute("--features")
    assert work.train("after", stage) == before
    pipeline = work.pipeline()
    assert not isinstance(pipeline.compile(_read(work), is_prompt=False).items[0], Kept)  # all of it is trainable
    pipeline.model.requires_grad_(False)
    sequence = pipeline.compile(_read(work), is_prompt=False)
    assert isinstance(sequence.items[0], Kept)
    pipeline.model.requires_grad_(True)
    with pytest.raises(SequenceError, match="trained was given kept features"):
        pipeline.model(**collate([sequence], pad=0))


def test_what_is_kept_serves_until_a_stage_trains_the_encoder_and_never_after(
    work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.precompute("--features")
    text = work.file.read_text()
    head, _, stage = text.partition("stages: [")
    first = stage.rstrip().removesuffix("]")
    second = first.replace("name: all", "name: encoder").replace('"*.adaptor"', "image.understand")
    work.file.write_text(f"{head}stages: [{first}, {second}, {first.replace('name: all', 'name: last')}]\n")
    finds: list[tuple[str, bool]] = []
    find = Shelf.find

    def found(self: Shelf, digest: bytes) -> Kept | None:
        kept = find(self, digest)
        if "encoder" in self.folder.name:
            finds.append((work.display.stages[-1], kept is not None))
        return kept

    monkeypatch.setattr(Shelf, "find", found)
    after = work.train("after")
    assert work.display.stages == ["all", "encoder", "last"] and set(finds) == {("all", True)}
    assert work.train("before", with_store=False) == after and len(after) > 8


def test_spans_are_as_long_as_before(work: Any) -> None:
    work.precompute("--features")
    pipeline = work.pipeline()
    pipeline.model.requires_grad_(False)
    kept = pipeline.compile(_read(work), is_prompt=False)
    pipeline.keep(None)
    plain = pipeline.compile(_read(work), is_prompt=False)
    assert isinstance(kept.items[0], Kept) and not isinstance(plain.items[0], Kept)
    assert (kept.ids, kept.spans) == (plain.ids, plain.spans)


def test_a_prompt_is_read_from_what_is_kept_and_answered_alike(work: Any, forbid: Any) -> None:
    work.precompute("--features")
    plain, pipeline = work.pipeline(), work.pipeline()
    plain.keep(None)
    said = plain.run(_read(work)[:1], max_tokens=5).text
    forbid(pipeline)
    assert pipeline.run(_read(work)[:1], max_tokens=5).text == said


def test_a_checkpoint_in_a_folder_below_finds_what_is_kept(work: Any) -> None:
    work.precompute("--features")
    saved = work.pipeline().save(work.home / "runs" / "tiny" / "1" / "checkpoints" / "best")
    pipeline = Pipeline.from_pretrained(saved, plugins=work.plugins, device="cpu")
    assert isinstance(pipeline.compile(_read(work)[:1]).items[0], Kept)
    with torch.no_grad():
        next(pipeline.parts.modules[ENCODER].parameters()).add_(1e-3)
    assert not isinstance(pipeline.compile(_read(work)[:1]).items[0], Kept)


def test_the_settings_say_where_results_are_kept(work: Any) -> None:
    report = work.precompute("--features", "training.kept=elsewhere")
    assert report["store"] == str(work.home / "elsewhere") and not work.store.exists()
    for overrides, is_found in (((), False), (("training.kept=elsewhere",), True)):
        assert isinstance(work.pipeline(*overrides).compile(_read(work)[:1]).items[0], Kept) == is_found


def _read(work: Any) -> list[dict[str, Any]]:
    part = {"type": "image", "path": str(work.home / "0.png")}
    return [{"role": "user", "content": [part, "What?"]}, {"role": "assistant", "content": "a"}]
