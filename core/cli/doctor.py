"""`polyjanus doctor`: versions, what is missing and what it would enable, and whether what is here works."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, echo_json, log

if TYPE_CHECKING:
    from polyjanus.core.registry import Registries

LIBRARIES = ("polyjanus", "torch", "transformers", "numpy", "pydantic", "pluggy", "pillow", "safetensors")
BESIDE = {
    "peft": "low-rank updates (training.lora)",
    "bitsandbytes": "AdamW with moments in bytes (optimizer: adamw8bit)",
    "accelerate": "trackers such as W&B (training.trackers)",
    "tensorboard": "the tracker tensorboard",
}
"""Libraries that no component asks for, and what they are for."""


@click.command(name="doctor")
@click.option("--no-test", is_flag=True, help="Leave out the self-test, which takes up to a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_obj
def command(session: Session, no_test: bool, as_json: bool) -> int:
    """Say what is installed, what each missing piece would enable, and whether this machine can read, write and learn.

    Exits with 1 where a part of the self-test fails.
    """
    report: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}},
        "machine": _machine(),
        "missing": _missing(session.registries()),
        "broken": dict(session.plugins().broken),
        "tests": [] if no_test else [_tried(name, work, session) for name, work in TESTS.items()],
    }
    if as_json:
        echo_json(report)
    else:
        _print(report)
    return 1 if any(test["error"] for test in report["tests"]) else 0


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    """Return what there is to compute with."""
    import torch

    gpus: list[str] = []
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "dtype": str(_dtype()).removeprefix("torch."),
    }


def _dtype() -> Any:
    """Return what `auto` computes in."""
    from polyjanus.core.assembling import compute_dtype, find_device

    return compute_dtype("auto", find_device("auto"))


def _missing(registries: Registries) -> list[dict[str, Any]]:
    """Return what is not installed, what it would enable, and how to get it."""
    found: dict[str, dict[str, Any]] = {}
    for registry in registries:
        for entry in registry:
            if entry.is_available:
                continue
            extra = entry.settings.extra
            remedy = f'pip install "polyjanus[{extra}]"' if extra else f"pip install {entry.origin.distribution}"
            row = found.setdefault(remedy, {"install": remedy, "enables": []})
            row["enables"].append(f"{registry.kind} {entry.settings.type_name()}")
    for name, purpose in BESIDE.items():
        if _version(name) is None:
            found[name] = {"install": f"pip install {name}", "enables": [purpose]}
    return list(found.values())


def _tried(name: str, work: Callable[[Session], str], session: Session) -> dict[str, Any]:
    """Return what became of one part of the self-test."""
    started = time.perf_counter()
    found: dict[str, Any] = {"name": name, "result": "", "error": None}
    try:
        found["result"] = work(session)
    except Exception as error:  # whatever it is, the doctor reports it
        found["error"] = f"{type(error).__name__}: {error}"
    return {**found, "seconds": round(time.perf_counter() - started, 2)}


def _reads_and_writes(session: Session) -> str:
    """Draw with a shipped model, and read what it drew."""
    from polyjanus.core.checkpoints.finding import shipped
    from polyjanus.core.pipeline import Pipeline

    pipeline = Pipeline.from_pretrained(next(iter(shipped())), plugins=session.plugins())
    medium = pipeline.outputs[-1]
    drawn = pipeline.run("Draw a seven.", [medium]).media(medium)[0]
    said = pipeline.run([{"type": medium, medium: drawn}, "What digit is this?"]).text.strip()
    return f"asked for a seven, the shipped model reads {said!r} in what it drew"


def _decodes(session: Session) -> str:
    """Save and load the example of every modality that needs no settings, in the process that decodes."""
    import tempfile
    from pathlib import Path

    from polyjanus.core.decoding.decoder import Decoder
    from polyjanus.core.settings import BuildContext

    done: list[str] = []
    for entry in session.registries().modalities:
        name = entry.settings.type_name()
        if not entry.is_available or any(
            f.is_required() for n, f in entry.settings.model_fields.items() if n != "type"
        ):
            continue
        modality = entry.settings(type=name).build(BuildContext(path=name))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"example{modality.suffixes[0]}"
            modality.save(modality.example(), file)
            Decoder({name: modality}).load(name, file)
        done.append(name)
    return f"files of {', '.join(done)}"


def _learns(session: Session) -> str:
    """Take a training step with a tiny model."""
    import tempfile
    from pathlib import Path

    import torch

    from polyjanus.core.pipeline import Pipeline

    shape = "hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tiny.yaml"
        file.write_text(
            f"polyjanus: 1\nbackbone: {{type: causal_lm, architecture: {{model_type: llama, {shape}}}}}\n"
            "template: {type: janus, user: User, assistant: Assistant}\ntext: {tokenizer: bytes}\n"
        )
        pipeline = Pipeline.from_yaml(file, plugins=session.plugins())
    batch = pipeline.collate([[{"role": "user", "content": "two"}, {"role": "assistant", "content": "three"}]])
    optimizer: Any = torch.optim.AdamW(pipeline.model.parameters(), lr=1e-2)
    losses: list[float] = []
    for _ in range(5):
        loss = pipeline.model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    if not losses[-1] < losses[0]:
        raise RuntimeError(f"the loss of five steps did not fall: {losses}")
    return f"the loss of five steps fell from {losses[0]:.2f} to {losses[-1]:.2f}"


TESTS: dict[str, Callable[[Session], str]] = {
    "reads and writes": _reads_and_writes,
    "decodes": _decodes,
    "learns": _learns,
}


def _print(report: dict[str, Any]) -> None:
    echo(", ".join(f"{name} {number or 'missing'}" for name, number in report["versions"].items()))
    machine = report["machine"]
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    echo(
        f"{machine['system']}, {machine['cpus']} CPUs, {machine['threads']} threads, {gpus}; auto is {machine['dtype']}"
    )
    for row in report["missing"]:
        echo(f"missing: {', '.join(row['enables'])}: {row['install']}")
    if not report["missing"]:
        echo("nothing is missing")
    for name, reason in report["broken"].items():
        echo(f"broken plugin {name}: {reason}")
    for test in report["tests"]:
        mark = "FAILED" if test["error"] else "ok"
        echo(f"{mark}: {test['name']}: {test['error'] or test['result']} ({test['seconds']} s)")
    if any(test["error"] for test in report["tests"]):
        log("something here does not work: the lines above say what")
