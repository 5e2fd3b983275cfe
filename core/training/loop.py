"""The training loop: stage after stage, step after step, and checkpoints from which it goes on exactly."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from polyjanus.core.assembling import compute_dtype
from polyjanus.core.config.schema import StageConfig, TrainingConfig
from polyjanus.core.data.mixing import Schedule, pattern
from polyjanus.core.data.opening import Splits, open_splits
from polyjanus.core.errors import DataError, PluginError, TrainingError
from polyjanus.core.modules import Backbone
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.training.averaging import Average, applied
from polyjanus.core.training.compiling import Blocks
from polyjanus.core.training.extending import lengthened
from polyjanus.core.training.feeding import Feed
from polyjanus.core.training.globs import chosen
from polyjanus.core.training.holding import held
from polyjanus.core.training.log import LOG, Display, Record, append, trim_log
from polyjanus.core.training.measuring import Meter
from polyjanus.core.training.memory import fitting
from polyjanus.core.training.passes import Passes
from polyjanus.core.training.ranks import Ranks
from polyjanus.core.training.resuming import again
from polyjanus.core.training.samples import LINES, SAMPLES, write_samples
from polyjanus.core.training.saving import Saving
from polyjanus.core.training.scoring import held_out_losses, score
from polyjanus.core.training.sharding import Sharding
from polyjanus.core.training.stages import freeze_all_but, learning_rate, make_optimizer, set_modes
from polyjanus.core.training.state import Progress, differences, read_optimizer, read_progress, read_weights, step_seed
from polyjanus.core.training.stopping import Stopping
from polyjanus.core.training.tracking import Tracking
from polyjanus.core.training.watching import NON_FINITE, Watch

FREE = ("save", "validation", "bad_rows", "samples", "kept", "trackers", "checkpoint_activations", "shard")
"""Settings of `training` that may change when a run is resumed: no loss depends on them."""


@dataclass(frozen=True)
class Work:
    """What the steps of a stage are done with."""

    index: int
    stage: StageConfig
    paths: Sequence[str]
    schedule: Schedule
    passes: Passes
    optimizer: torch.optim.Optimizer
    average: Average | None
    meter: Meter


class Training:
    """One run of a pipeline's curriculum in a folder of its own."""

    def __init__(
        self,
        pipeline: Pipeline,
        folder: Path,
        data_folder: Path,
        display: Display,
        splits: Splits | None = None,
        ranks: Ranks | None = None,
        device: torch.device | None = None,
    ) -> None:
        if pipeline.config.training is None:
            raise TrainingError("the pipeline has no 'training' block")
        self.pipeline, self.model, self.folder, self.display = pipeline, pipeline.model, folder, display
        self.config: TrainingConfig = pipeline.config.training
        self.data_folder, self.paths = data_folder, pipeline.config.component_paths()
        self.device = device or self.model.device
        self.is_mixed = compute_dtype(self.config.precision, self.device) == torch.bfloat16
        self.ranks = ranks or Ranks()
        self.sharding = Sharding(self.ranks, is_asked=self.config.shard, is_mixed=self.is_mixed)
        self.progress = Progress()
        self.resumed_from: Path | None = None
        self._has_learned = False
        self.splits = splits or open_splits(pipeline.config, data_folder)
        self.feed = Feed(pipeline, self.config, self.splits, folder)
        if not self.ranks.is_first:  # each process lists the bad rows that it met
            self.feed.quarantine.file = folder / f"bad_rows-{self.ranks.rank}.jsonl"
        self.saving = Saving(pipeline, self.config, folder, self.sharding, self.fingerprint)
        self.watch = Watch(self.config.nonfinite, folder if self.ranks.is_first else None)
        self.blocks = Blocks(self.model, is_on=self.config.compile)

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint whose weights the pipeline has; refuse one that other settings made.

        Stages may have become longer where that gives the run that would have been longer from the start.
        """
        now = json.loads(json.dumps(self.fingerprint()))
        progress, settings = read_progress(checkpoint)
        settings, self.progress = lengthened(settings, now, progress, checkpoint)
        self.watch.skipped = self.progress.skipped
        changed = [f"{path} was {old!r:.60}, is {new!r:.60}" for path, old, new in differences(settings, now)]
        if changed:
            raise TrainingError(
                f"the run was made with other settings: {'; '.join(changed)}",
                where=str(checkpoint),
                hint=f"{again(self.folder)} takes those of the run; else start a new run",
            )
        self.resumed_from, self.saving.last = checkpoint, self.progress.total

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that a run must keep for its losses to stay the same."""
        dump = self.pipeline.config.model_dump(mode="json", serialize_as_any=True)
        del dump["evaluation"], dump["text"]["sampler"]
        for name in FREE:
            dump["training"].pop(name, None)
        for modality in dump["modalities"].values():
            cast("dict[str, Any]", modality["generate"] or {}).pop("sampler", None)
        return {**dump, "sizes": {name: len(sides[0]) for name, sides in self.splits.items()}}

    def run(self) -> None:
        """Train all stages that are left; a first SIGINT or SIGTERM ends the step, saves and leaves."""
        self._check_shares()
        self.sharding.check(self.config.stages)
        self.sharding.place(self.pipeline, self.device)
        names = self.config.trackers if self.ranks.is_first else ()
        with (
            held(self.folder) if self.ranks.is_first else nullcontext(),
            Stopping() as stopping,
            Tracking(names, self.folder, self.fingerprint()) as self.tracking,
        ):
            self.saving.tidy()
            self._forget_what_was_not_saved()
            hooks = self.pipeline.plugins.manager.hook
            hooks.run_started(folder=self.folder, resumed=self.resumed_from is not None)
            for index in range(self.progress.stage, len(self.config.stages)):
                self._run_stage(index, stopping)
        self.model.eval()

    def _forget_what_was_not_saved(self) -> None:
        """Take out of the run's lists what it wrote after the step that it goes on from."""
        if self.resumed_from is not None and self.ranks.is_first:
            for name in (LOG, NON_FINITE, f"{SAMPLES}/{LINES}"):
                trim_log(self.folder / name, self.progress.total)
        self.feed.quarantine.restore(self.progress.total)
        self.ranks.wait()
        self.feed.quarantine.gather()

    def _check_shares(self) -> None:
        """Refuse steps that have no row for some process."""
        for stage in self.config.stages:
            if stage.batch < self.ranks.world:
                raise TrainingError(
                    f"stage {stage.name!r} has {stage.batch} rows a step for {self.ranks.world} processes",
                    hint="raise 'batch', which counts the rows of all processes together",
                )

    def _run_stage(self, index: int, stopping: Stopping) -> None:
        work = self._begin(index)
        stage = work.stage
        self.progress.stage, self._has_learned, first = index, False, self.progress.step
        self.display.stage(stage, first)
        for step in range(first, stage.steps):
            if self.ranks.agree(stopping.is_asked, self.device):
                self.saving.save(self.progress, work.optimizer, work.average)
                stopping.leave()
            set_modes(self.model, work.paths, moves_statistics=stage.objective == "reconstruct")
            cast(Any, torch).manual_seed(step_seed(self.config.seed, index, step) + self.ranks.rank)
            try:
                self._step(work, step)
            except (DataError, PluginError):  # raised before weights move, or after all of the step is done
                if self.progress.total and self.ranks.world == 1:  # of several, the others know nothing of it
                    self.saving.save(self.progress, work.optimizer, work.average)
                raise
        if not self._has_learned and self.progress.step == stage.steps and not first:
            raise TrainingError(f"no row of stage {stage.name!r} uses what it trains: {', '.join(work.paths)}")
        if index + 1 == len(self.config.stages):  # as one that may go on, if it is to be longer one day
            self.saving.save(self.progress, work.optimizer, work.average)
        if work.average is not None:
            work.average.hand_over()
        self.progress.stage, self.progress.step = index + 1, 0

    def _begin(self, index: int) -> Work:
        """Freeze and free what a stage says, and make what its steps are done with."""
        stage = self.config.stages[index]
        paths = chosen(stage.train, self.paths)
        freeze_all_but(self.model, paths, self.paths)
        cast(Backbone, self.model.part("backbone")).checkpoint_activations(self.config.checkpoint_activations)
        optimizer = make_optimizer(self.model, stage, paths)
        average = Average(self.model, self.config.ema) if self.config.ema else None
        if self.resumed_from is not None and self.progress.stage == index and self.progress.step:
            read_optimizer(self.resumed_from, optimizer)
            if average is not None:
                average.restore(read_weights(self.resumed_from))
        sizes = {name: len(self.splits[name][0]) for name in stage.mix}
        schedule = Schedule(self.config.seed, index, pattern(stage.mix), sizes, stage.batch)
        passes = Passes(
            self.model,
            stage,
            paths,
            self.sharding,
            pad=self.feed.pad,
            max_tokens=self.config.max_tokens,
            is_mixed=self.is_mixed,
        )
        meter = Meter(self.model, self.ranks, is_mixed=self.is_mixed)
        return Work(index, stage, paths, schedule, passes, optimizer, average, meter)

    def _step(self, work: Work, step: int) -> None:
        started = time.perf_counter()
        stage, optimizer, draws = work.stage, work.optimizer, work.schedule.draws(step)
        rate = learning_rate(stage, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        examples = self.feed.examples(self.ranks.share(draws), self.progress.total + 1)
        sequences = [example.sequence for example in examples]
        taken = [example.draw for example in examples] if self.ranks.world == 1 else draws
        optimizer.zero_grad(set_to_none=True)
        where, total = f"step {step + 1} of stage {stage.name!r}", self.progress.total + 1
        places = [self.feed.place(draw) for draw in taken]
        mine = [(len(example.sequence), self.feed.place(example.draw)) for example in examples]
        need = fitting(where, self.model, self.config, stage, lambda: mine, lambda: self._save_in_need(work))
        with need, self.blocks.compiled():
            found = work.passes.run(sequences)
        self._has_learned |= found.has_learned
        is_fine = self.watch.is_finite("loss", found.loss, where, total, places, found.sums)
        norm = self.sharding.clip(work.passes.trained, stage.clip or float("inf"))
        if is_fine and self.watch.is_finite("gradient's norm", norm, where, total, places, found.sums):
            with self.sharding.apart(optimizer):
                optimizer.step()
            if work.average is not None:
                work.average.update(step + 1)
        else:
            optimizer.zero_grad(set_to_none=True)
        self.progress.step, self.progress.total = step + 1, total
        self.progress.skipped = self.watch.skipped
        losses = {f"{name}.loss": _ratio(value) for name, value in found.sums.items()}
        record = {"stage": stage.name, "step": step + 1, "total": total, "loss": float(found.loss), **losses}
        seconds = time.perf_counter() - started
        cost = work.meter.record(sequences, found.places, seconds)
        self._tell({**record, "lr": rate, "grad_norm": float(norm), **cost, "seconds": round(seconds, 4)})
        self._on_schedule(work)

    def _save_in_need(self, work: Work) -> str:
        """Save what was learned before a step that failed, and return what was done."""
        if self.ranks.world > 1:  # the others know nothing of it
            return "the run goes on from its last checkpoint"
        if not self.progress.total:
            return "nothing had been learned"
        self.saving.save(self.progress, work.optimizer, work.average)
        return f"step {self.progress.total} is saved"

    def _on_schedule(self, work: Work) -> None:
        """Validate and save where it is time to."""
        total, is_over = self.progress.total, self.progress.step == work.stage.steps
        if work.stage.objective == "next" and (total % self.config.validation.every == 0 or is_over):
            self._validate(work)
            if self.config.samples:
                with applied(work.average), self.sharding.alone(self.pipeline) as is_first:
                    if is_first:
                        write_samples(self.pipeline, self.config.samples, self.folder, total, self.data_folder)
        if total % self.config.save.every == 0:
            self.saving.save(self.progress, work.optimizer, work.average)

    def _validate(self, work: Work) -> None:
        """Score the held-out rows of every data set, and keep the model if it is the best so far."""
        if not any(len(side) for _, side in self.splits.values()):
            return
        with applied(work.average):
            losses = held_out_losses(self.model, self.feed, self.config.validation, self.sharding, self.progress.total)
        found = score(losses, self.config.validation.best)
        is_best = found is not None and (self.progress.best is None or found < self.progress.best)
        named = {f"{name}.loss": value for name, value in losses.items()}
        self.feed.quarantine.gather()
        bad = self.feed.quarantine.counts()
        self._tell({"validation": named, "total": self.progress.total, "is_best": is_best, "bad_rows": bad})
        if is_best:
            self.progress.best = found
            self.saving.save_best(self.progress, work.optimizer, work.average)

    def _tell(self, record: Record) -> None:
        if not self.ranks.is_first:
            return
        append(self.folder / LOG, record)
        self.display.step(record)
        self.tracking.log(record)
        self.pipeline.plugins.manager.hook.step_finished(record=record)


def _ratio(value: tuple[Tensor, Tensor]) -> float:
    return float(value[0].detach()) / max(int(value[1]), 1)
