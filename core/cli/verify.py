"""`polyjanus verify`: what others published about a model's outputs, computed again here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyjanus.core.cli.common import Session, echo, echo_json, log

if TYPE_CHECKING:
    from polyjanus.core.checkpoints.formats import Finding
    from polyjanus.core.pipeline import Pipeline

FAILED = 1


@click.command(name="verify")
@click.argument("model")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The medium that a published result is about, where one is.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
@click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16, stored, or auto.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print {model, format, device, dtype, checks: [{name, verdict, detail}]}."
)
@click.pass_obj
def command(session: Session, model: str, file: Path | None, device: str, dtype: str, as_json: bool) -> int:
    """Compare a model with the outputs that were published for its weights.

    Each check is pass, fail, or not applicable; any fail gives status 1. MODEL is what `run` takes, or a folder or hub
    id in a foreign format.
    """
    from polyjanus.core.checkpoints.opening import open_checkpoint
    from polyjanus.core.pipeline import Pipeline

    written_by = open_checkpoint(model, session.registries(), is_verified=False).written_by
    pipeline = Pipeline.from_pretrained(model, plugins=session.plugins(), device=device, dtype=dtype)
    place = _place(pipeline)
    log(f"{model}: {written_by} on {place['device']} in {place['dtype']}; a large model takes minutes")
    findings = list(_findings(session, pipeline, written_by, file))
    if as_json:
        rows = [asdict(finding) for finding in findings]
        echo_json({"model": model, "format": written_by, **place, "checks": rows})
    else:
        echo(f"{model} ({written_by}) on {place['device']} in {place['dtype']}")
        for finding in findings:
            echo(f"{finding.verdict}: {finding.name}: {finding.detail}")
    return FAILED if any(finding.verdict == "fail" for finding in findings) else 0


def _findings(session: Session, pipeline: Pipeline, written_by: str, file: Path | None) -> list[Finding]:
    """Return the checks of the format that the model is in; for our own, of any format that has some."""
    from polyjanus.core.checkpoints.formats import Finding, open_format

    registry = session.registries().formats
    for name in [written_by] if written_by in registry else registry.names():
        findings = list(open_format(registry.get(name)(type=name)).checks(pipeline, file))
        if findings:
            return findings
    return [Finding("published results", "not applicable", "no format knows any for this model")]


def _place(pipeline: Pipeline) -> dict[str, Any]:
    """Return where and in what the model computes."""
    import torch

    device = pipeline.model.device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": named, "dtype": str(pipeline.model.dtype).removeprefix("torch."), "torch": str(torch.__version__)}
