"""Training killed by the hundred: nothing that was saved is lost, and every run goes on bit by bit.

    python tests/trials.py [--count 300] [--seed 0]

Each trial trains a tiny pipeline that saves every few steps, and kills it with SIGKILL: at any time of its life, or
right after a save has begun. It is resumed, perhaps killed again, and resumed to its end. A trial holds if there was a
sound checkpoint of the last save that was over, if `--resume` told what it passed over, and if the log (the losses of
all steps), the list of bad rows and the weights at the end are those of a run that was never killed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

from polyjanus.core.checkpoints.atomic import read_manifest, verify
from polyjanus.core.checkpoints.finding import CHECKPOINTS, newest_sound
from polyjanus.core.cli.main import main as polyjanus
from polyjanus.core.errors import CheckpointError
from polyjanus.core.training.log import TIMED

EVERY = 3
"""Steps between saves."""
INSIDE = 0.6
"""Share of the kills that are aimed inside a save."""
AGAIN = 0.4
"""How often a run that goes on is killed once more."""
RARELY = "training.save.every=1000"
YAML = f"""
polyjanus: 1
backbone:
  type: causal_lm
  architecture: {{model_type: llama, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1,
                 num_attention_heads: 2, max_position_embeddings: 128, attention_dropout: 0.1}}
template: {{type: janus, user: User, assistant: Assistant}}
text: {{tokenizer: bytes}}
data:
  words: {{type: jsonl, path: ./words.jsonl, validation: 0.1}}
training:
  precision: float32
  validation: {{every: 7}}
  save: {{every: {EVERY}, keep: 2}}
  stages:
    - {{name: first, train: [text], mix: {{words: 1}}, steps: 40, batch: 3, lr: 1e-3}}
    - {{name: second, train: [backbone, text], mix: {{words: 1}}, steps: 85, batch: 4, accumulate: 2, lr: 3e-3,
       schedule: cosine, warmup: 5}}
"""


@dataclass
class Outcome:
    """What became of the trials."""

    kills: int = 0
    inside: int = 0
    """Kills that left a save unfinished."""
    anew: int = 0
    """Runs that were started again, as nothing had been saved."""
    losses: int = 0
    """Losses compared, of steps after a kill."""
    faults: list[str] = field(default_factory=list[str])


class Trials:
    """Runs of one YAML in a folder, each in a process forked from this one, which has imported all that they need."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.numbers, self.outcome = home, random.Random(seed), Outcome()
        (home / "tiny.yaml").write_text(YAML, encoding="utf-8")
        rows = [json.dumps({"text": f"word {i} of {i * i}"}) for i in range(30)]
        rows[11] = "{"
        (home / "words.jsonl").write_text("\n".join(rows), encoding="utf-8")
        for run in ("first", "unbroken"):
            started = time.perf_counter()
            status, told = self.wait(self.start(run))
            self.life = time.perf_counter() - started
            if status:
                raise SystemExit(told)
            for name in (home / "modules").read_text().split():  # what the first had to import, no other has to
                with suppress(ImportError):
                    importlib.import_module(name)
        self.expected = self.record("unbroken")
        if self.expected != self.record("first"):
            raise SystemExit("two runs of one seed are not equal; nothing can be told from trials")

    def start(self, run: str, *words: str) -> int:
        """Fork a process that trains in a run's folder, and return its number."""
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            os.chdir(self.home)
            out = os.open("told", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            import torch

            torch.set_num_threads(1)
            status = polyjanus(["train", "tiny.yaml", "--device", "cpu", "--quiet", "--run", run, *words])
            if run == "first":
                Path("modules").write_text("\n".join(sorted(sys.modules)))
        except BaseException as error:
            os.write(2, repr(error).encode())
        finally:
            os._exit(status)

    def wait(self, pid: int) -> tuple[int, str]:
        """Return the status of a process once it has ended, and what it told."""
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), (self.home / "told").read_text()

    def record(self, run: str) -> dict[str, Any]:
        """Return all that must be equal: the log, the bad rows, and digests of weights and optimiser at the end."""
        folder = self.home / run
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        checkpoint, faults = newest_sound(folder / CHECKPOINTS)
        if checkpoint is None or faults:
            return {"faults": faults}
        files = {name: entry["sha256"] for name, entry in read_manifest(checkpoint)["files"].items()}
        kept = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
        log = [{key: value for key, value in line.items() if key not in TIMED} for line in lines]
        return {"log": log, "bad": (folder / "bad_rows.jsonl").read_text(), "weights": kept}

    def kill(self, pid: int, home: Path) -> None:
        """Kill a process at some time, or once some save has begun."""
        if self.numbers.random() >= INSIDE:
            time.sleep(self.numbers.uniform(0, self.life))
        else:
            place, seen = self.numbers.randint(1, 30), set[str]()
            while len(seen) < place and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                seen |= set(_hidden(home, ".tmp-"))
                time.sleep(0.0005)
            time.sleep(self.numbers.choice([0.0, self.numbers.uniform(0, 0.04)]))
        os.kill(pid, signal.SIGKILL)

    def trial(self, number: int) -> None:
        """Kill one run, resume it, perhaps kill it again, and compare it at its end."""
        run, words, floor, is_killed_again = f"run{number}", list[str](), 0, True
        log, home = self.home / run / "log.jsonl", self.home / run / CHECKPOINTS
        while is_killed_again:
            pid = self.start(run, f"training.save.every={EVERY}", *words)
            self.kill(pid, home)
            status, told = self.wait(pid)
            if status >= 0:  # it was over before
                self.expect(number, status == 0, f"ended with {status}: {told}")
                return self.compare(number, run, floor)
            unfinished, found, done = _hidden(home, ".tmp-"), max(_steps(home), default=0), _last_step(log)
            self.outcome.kills += 1
            self.outcome.inside += bool(unfinished)
            floor = max(floor, (done - 1) // EVERY * EVERY)
            self.expect(number, found >= floor, f"killed after step {done}: {found} is saved, {floor} was")
            floor, words = found, ["--resume"]
            is_killed_again = found > 0 and self.numbers.random() < AGAIN
        finish = self.resume if found else self.start_anew
        self.compare(number, finish(number, run, unfinished), floor)

    def resume(self, number: int, run: str, unfinished: list[str]) -> str:
        """Resume a run to its end and return its folder; it must tell what it passed over."""
        status, told = self.wait(self.start(run, RARELY, "--resume"))
        silent = [name for name in unfinished if f"{name}: was not written to the end" not in told]
        self.expect(number, status == 0 and not silent, f"resumed with {status}, silent about {silent}: {told}")
        return run

    def start_anew(self, number: int, run: str, unfinished: list[str]) -> str:
        """Start a run in another folder and return that; resuming it must tell that nothing had been saved."""
        status, told = self.wait(self.start(run, RARELY, "--resume"))
        is_told = status == 2 and ("there is no such run" in told or "holds no checkpoint" in told)
        self.expect(number, is_told, f"resumed without a checkpoint: {status}: {told}")
        self.outcome.anew += 1
        status, told = self.wait(self.start(f"{run}-anew", RARELY))
        self.expect(number, status == 0, f"started anew with {status}: {told}")
        return f"{run}-anew"

    def compare(self, number: int, run: str, floor: int) -> None:
        """Hold a run that is over against the one that was never killed."""
        try:
            mine = self.record(run)
        except OSError as error:
            mine = {"error": str(error)}
        differing = [name for name, value in self.expected.items() if mine.get(name) != value]
        self.expect(number, not differing, f"{run}: other {differing}: {mine if 'log' not in mine else ''}")
        left = _hidden(self.home / run / CHECKPOINTS, "")
        self.expect(number, not left, f"{run}: left {left}")
        self.outcome.losses += sum("loss" in line and line["total"] > floor for line in mine.get("log", ()))

    def expect(self, number: int, holds: bool, words: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.outcome.faults.append(f"trial {number}: {words}")


def _hidden(home: Path, part: str) -> list[str]:
    """Return the names of hidden folders in a folder that may not be there, or come and go."""
    with suppress(OSError):
        return [name for name in os.listdir(home) if name.startswith(".") and part in name]
    return []


def _last_step(log: Path) -> int:
    """Return the last step of which a log has a whole line."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
    steps = [json.loads(line) for line in lines if line.endswith("\n")]
    return max((line["total"] for line in steps if "loss" in line), default=0)


def _steps(home: Path) -> Iterator[int]:
    """Yield the steps of all sound checkpoints, those included that stepped aside while they were replaced."""
    for folder in home.glob("*"):
        if ".tmp-" not in folder.name:
            with suppress(CheckpointError):
                yield int(verify(folder)["step"])


def main() -> None:
    """Kill as many runs as asked for, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder), arguments.seed)
        for number in range(arguments.count):
            trials.trial(number)
    found = trials.outcome
    print(f"trials {arguments.count}, kills {found.kills}, of which inside a save {found.inside}")
    print(f"started anew {found.anew}, losses compared {found.losses}, faults {len(found.faults)}")
    print(f"{time.perf_counter() - started:.0f} s; a run that is not killed takes {trials.life:.1f} s")
    for line in found.faults[:10]:
        print(f"    {line}")
    raise SystemExit(1 if found.faults else 0)


if __name__ == "__main__":
    main()
