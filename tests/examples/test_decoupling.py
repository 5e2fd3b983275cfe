"""The ablation: arms differ in what they should and in nothing else, and what is shown is what was measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polyjanus.core.cli.common import Session
from polyjanus.core.errors import CheckpointError, UsageError, WiringError
from polyjanus.core.settings import BuildContext
from polyjanus.examples.decoupling import SemanticFsqConfig, later, running, showing
from polyjanus.examples.decoupling.arms import ARMS, PREPARED, SENSES, PlannedArm, Size
from polyjanus.examples.decoupling.source import plain
from polyjanus.examples.quintet.world import open_world

SESSION = Session(third_party=False)


def planned(sense: str, home: Path) -> dict[str, PlannedArm]:
    return {arm.name: arm for arm in running.planned(SESSION, sense, home, Size())}


def config_of(arm: PlannedArm, seed: int = 0) -> Any:
    return SESSION.read(arm.yaml, arm.overrides_of(seed)).config


@pytest.mark.parametrize("sense", SENSES)
def test_arms_differ_in_nothing_but_what_reads_what_writes_and_what_is_learned(sense: str, tmp_path: Path) -> None:
    configs = {name: config_of(arm) for name, arm in planned(sense, tmp_path).items() if name in ARMS}
    stages = {name: config.training.stages[0] for name, config in configs.items()}
    first = configs["D"].model_dump(exclude={"modalities", "training", "evaluation"}, serialize_as_any=True)
    for config in configs.values():
        assert config.model_dump(exclude={"modalities", "training", "evaluation"}, serialize_as_any=True) == first
    assert len({(stage.steps, stage.lr, stage.schedule, stage.warmup) for stage in stages.values()}) == 1
    rows = {n: {k: s.batch * v / sum(s.mix.values()) for k, v in s.mix.items() if v} for n, s in stages.items()}
    assert rows["A"] == rows["B"] == rows["D"] == {**rows["E"], **rows["F"]}
    assert rows["C"] == rows["E"] == {"read": rows["D"]["read"]}


@pytest.mark.parametrize("sense", SENSES)
def test_shared_arms_have_no_encoder_of_their_own_and_every_arm_fits(sense: str, tmp_path: Path) -> None:
    arms = planned(sense, tmp_path)
    for name, plan in {**PREPARED, **ARMS}.items():
        modality = config_of(arms[name]).modalities[sense]
        assert (modality.understand.encoder.type == "codec_features") == plan.is_shared
        assert (modality.generate.codec.type == "semantic_fsq") == plan.is_semantic
    sizes = {name: running.parameters(SESSION, arms[name], 0) for name in ARMS}
    assert sizes["D"][1] > sizes["A"][1] > sizes["C"][1] and sizes["B"][1] == pytest.approx(sizes["A"][1], rel=0.05)
    assert all(total >= trained for total, trained in sizes.values())
    assert sizes["E"] == (sizes["E"][1],) * 2, "what only reads with its own encoder needs no codec"


def test_an_arm_starts_from_what_was_prepared_with_its_own_seed(tmp_path: Path) -> None:
    arms = planned("image", tmp_path)
    home = tmp_path / "image"
    sources = config_of(arms["D"], seed=7).training.init_from
    assert sources == {
        "image.generate.codec": str(home / "codec" / "seed-7"),
        "image.understand.encoder": str(home / "teacher" / "seed-7"),
    }
    assert config_of(arms["B"], seed=7).training.init_from == {
        "image.generate.codec": str(home / "tokenizer" / "seed-7")
    }
    teacher = config_of(arms["tokenizer"], seed=7).modalities["image"].generate.codec.teacher
    assert teacher == f"{home / 'teacher' / 'seed-7'}:image.understand.encoder"
    assert not config_of(arms["codec"]).training.init_from


def context(sense: str) -> BuildContext:
    config = SESSION.read(running.HOME / f"{sense}.yaml").config
    modality = config.modalities[sense].build(BuildContext(path=sense))
    return BuildContext(path=f"{sense}.generate.codec", modality=modality)


def tokenizer(sense: str) -> Any:
    import torch

    torch.manual_seed(0)
    encoder = SESSION.read(running.HOME / f"{sense}.yaml").config.modalities[sense].understand.encoder
    return SemanticFsqConfig(type="semantic_fsq", encoder=encoder, levels=(4, 4)).build(context(sense)).eval()


@pytest.mark.parametrize("sense", SENSES)
def test_a_semantic_tokenizer_learns_both_ways_back_and_leaves_its_encoder(sense: str) -> None:
    import torch

    codec, where = tokenizer(sense), context(sense)
    noise = np.random.default_rng(0)
    media = [where.modality.load(plain(open_world("test"), sense, n, noise).media) for n in range(4)]
    items = [codec.prepare(each) for each in media]
    before = {name: value.clone() for name, value in codec.encoder.state_dict().items()}
    optimiser = torch.optim.Adam(codec.parameters(), 3e-3)
    losses = []
    codec.train()
    for _ in range(30):
        loss, count = codec.reconstruct(items)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()) / count)
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in codec.encoder.state_dict().items())
    codes = codec.eval().encode(items)
    assert codes[0].shape == (codec.max_codes, 1) and len(codec.decode(codes)) == 4
    stacked = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    vectors = codec.up(codec.scalars.vectors(torch.stack(codes)[..., 0]))
    assert torch.allclose(codec.features("codes", **stacked), vectors, atol=1e-6)
    torch.testing.assert_close(codec.features("latents", **stacked), codec.encoder.forward_stacked(**stacked))


def test_eeg_of_another_length_is_cut_or_filled_up() -> None:
    from dataclasses import replace

    codec, noise = tokenizer("eeg"), np.random.default_rng(0)
    media = plain(open_world("test"), "eeg", 3, noise).media
    shorter = replace(media, volts=media.volts[:, :50])
    longer = replace(media, volts=np.tile(media.volts, 2))
    assert {codec.num_codes(codec.prepare(each)) for each in (shorter, longer)} == {codec.max_codes}
    assert codec.decode(codec.encode([codec.prepare(shorter)]))[0].volts.shape == media.volts.shape


def test_an_encoder_that_nothing_draws_from_is_refused() -> None:
    settings = {"type": "semantic_fsq", "encoder": {"type": "point_patch"}}
    with pytest.raises(WiringError, match="no way back from what a PointPatchEncoder sees"):
        registries = {"registries": SESSION.registries()}
        SemanticFsqConfig.model_validate(settings, context=registries).build(context("image"))


VALUES = {
    "read": {name: [0.9, 0.8, 0.7] for name in ("teacher", *"DABCE")},
    "write.guided": {"D": [0.5, 0.6, 0.7], "A": [0.4, 0.5, 0.6], "B": [0.9, 0.8, 0.9], "F": [0.5, 0.6, 0.7]},
}


def test_the_table_has_every_arm_once_with_its_difference_and_leaves_out_what_it_cannot_do() -> None:
    lines = showing.table(VALUES, dict.fromkeys(ARMS, (2_000_000, 1_000_000)))
    rows = {line.split(":")[0].strip("| "): line for line in lines[2:]}
    assert list(rows) == list(ARMS)
    assert "60.0% |" in rows["D"] and "50.0% (-10.0 [-10.0, -10.0])" in rows["A"]
    assert rows["C"].split("|")[3].strip() == "" and rows["F"].split("|")[2].strip() == ""


def test_the_chart_has_a_dot_per_seed_and_the_page_a_table_per_score() -> None:
    dots = sum(len(values) for arms in VALUES.values() for name, values in arms.items() if name in ARMS)
    assert showing.chart({"image": VALUES}).count("<circle") == dots
    assert showing.report({"image": VALUES}, []).count("<table>") == len(VALUES)


@pytest.mark.slow
def test_a_small_ablation_gives_every_score_and_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from polyjanus.examples.decoupling import __main__ as main

    tiny = Size(steps=0.005, questions=10)
    arguments = ["--senses", "image", "--seeds", "0", "--into", str(tmp_path), "--quiet", "--quick"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "QUICK", tiny)
        first = CliRunner().invoke(main.command, arguments, catch_exceptions=False)
        weights = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
        again = CliRunner().invoke(main.command, arguments, catch_exceptions=False)
    assert first.exit_code == again.exit_code == 0
    assert weights == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
    results = json.loads((tmp_path / "decoupling.json").read_text())["results"]["image"]
    assert set(results["read"]) >= {"D", "A", "B", "C", "E"} and "F" not in results["read"]
    assert set(results["write.guided"]) == {"D", "A", "B", "F"}
    assert len(weights) > 9 and (tmp_path / "decoupling.svg").read_text().startswith("<svg")


def test_a_teacher_that_has_no_such_encoder_is_named(tmp_path: Path) -> None:
    from polyjanus.examples.decoupling.semantic import take_encoder

    with pytest.raises((CheckpointError, UsageError), match="none"):
        take_encoder(tokenizer("image").encoder, f"{tmp_path / 'none'}:image.understand.encoder", context("image"))


@pytest.mark.slow
def test_what_is_added_later_changes_no_bit_of_what_was_there(tmp_path: Path) -> None:
    import torch

    from polyjanus.core.pipeline import Pipeline

    runs = later.add_later(SESSION, [0], tmp_path, Size(steps=0.005, questions=10), True)
    assert "is exactly what it was" in later.table(runs)[-1] and "NOT" not in later.table(runs)[-1]
    before, after = (
        Pipeline.from_pretrained(tmp_path / name / "seed-0", plugins=SESSION.plugins(), device="cpu")
        for name in ("image/D", "both/later")
    )
    old, new = before.model.state_dict(), after.model.state_dict()
    kept = [name for name in old if not name.startswith("marks.")]
    assert all(torch.equal(new[name], old[name]) for name in kept)
    assert all(torch.equal(new[name][:2], old[name]) for name in old if name.startswith("marks."))
    own = [name for name in new if name.startswith("eeg.generate.head.")]
    fresh = Pipeline.from_yaml(running.HOME / "eeg.yaml", plugins=SESSION.plugins(), device="cpu").model.state_dict()
    assert any(not torch.equal(new[name], fresh[name]) for name in own), "EEG has learned"
    drawn = [model.run("Draw seven.", ["image"]).media("image")[0] for model in (before, after)]
    assert np.array_equal(*map(np.asarray, drawn))
