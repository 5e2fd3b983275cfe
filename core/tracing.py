"""One row followed through every step, from its files to its loss and the gradients: what passes, how large, how long.

The row goes through the very calls that training makes; each is only watched.
"""

from __future__ import annotations

import html
import math
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from polyjanus.core.data.showing import Run, runs_of
from polyjanus.core.features import Features
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.reporting import COLOURS, STYLE
from polyjanus.core.sequence.packing import collate, to_device


@dataclass(frozen=True)
class Step:
    """One call on the way: whose, what came out of it, and what that took."""

    path: str
    call: str
    result: str
    """What came out: shapes (see each contract), dtypes, counts."""
    rms: float | None
    """Root of the mean square of its floating values."""
    bytes: int
    """Size of what came out."""
    seconds: float


@dataclass
class Trace:
    """A row's whole way."""

    place: str
    steps: list[Step] = field(default_factory=list[Step])
    runs: list[Run] = field(default_factory=list[Run])
    """What stands at which position."""
    losses: dict[str, float] = field(default_factory=dict[str, float])
    """Mean loss per head."""
    gradients: dict[str, float | None] = field(default_factory=dict[str, float | None])
    """Norm of the gradient per component with parameters; None where none arrived."""
    pictures: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    """Previews (PNG) of what was loaded, and of what the codec makes of its codes."""

    def as_json(self) -> dict[str, Any]:
        """Return everything but the pictures."""
        plain = asdict(self)
        del plain["pictures"]
        return plain


def trace(pipeline: Pipeline, messages: Any, place: str) -> Trace:
    """Return the way of one row; the model's weights and modes stay what they are, its gradients are emptied."""
    found = Trace(place)
    watcher = _Watcher(pipeline, found)
    kept = pipeline.compiler
    pipeline.keep(None)  # what was computed before would hide the steps
    with watcher.watching():
        started = time.perf_counter()
        sequence = pipeline.compile(messages, is_prompt=False)
        watcher.add("sequence", "compile", sequence.ids, time.perf_counter() - started)
        pad = pipeline.tokenizer.require(pipeline.tokenizer.pad, "padding")
        output = pipeline.model(**to_device(collate([sequence], pad=pad), pipeline.model.device))
        watcher.timed("loss", "backward", output.loss.backward)
    pipeline.compiler = kept
    found.runs = runs_of(sequence, pipeline.compiler)
    found.losses = {name: float(total.detach()) / max(int(count), 1) for name, (total, count) in output.sums.items()}
    for path in pipeline.config.component_paths():
        if pipeline.model.has(path) and (parameters := list(pipeline.model.part(path).parameters())):
            norms = [float(cast(Any, p.grad).norm()) for p in parameters if p.grad is not None]
            found.gradients[path] = math.hypot(*norms) if norms else None
    pipeline.model.zero_grad(set_to_none=True)
    return found


class _Watcher:
    """Notes the calls of a pipeline's parts."""

    def __init__(self, pipeline: Pipeline, found: Trace) -> None:
        self.pipeline, self.found = pipeline, found
        self._undo: list[Callable[[], None]] = []

    @contextmanager
    def watching(self) -> Generator[None]:
        """Note every call of what a row passes through."""
        parts = self.pipeline.parts
        try:
            self._watch("files", self.pipeline.compiler.decoder, "load", self._keep_preview)
            for path, module in parts.modules.items():
                for method in ("prepare", "encode", "loss"):
                    if hasattr(module, method):
                        keep = self._keep_decoded if method == "encode" else None
                        self._watch(path, module, method, keep)
                if not path.endswith((".codec", ".head", "marks")) or path == "text.head":
                    self._watch(path, module, "forward")
            for name, layout in parts.layouts.items():
                self._watch(f"{name}.generate.layout", layout, "pack")
            yield
        finally:
            for undo in self._undo:
                undo()

    def _watch(self, path: str, owner: Any, method: str, keep: Callable[..., None] | None = None) -> None:
        if method in vars(owner):  # a part that two paths share is watched once
            return
        real = getattr(owner, method)

        def call(*values: Any, **options: Any) -> Any:
            result = self.timed(path, method, lambda: real(*values, **options))
            if keep is not None:
                keep(path, owner, result, *values)
            return result

        setattr(owner, method, call)
        self._undo.append(lambda: delattr(owner, method))

    def timed(self, path: str, call: str, work: Callable[[], Any]) -> Any:
        """Do something and note what it took."""
        if self.pipeline.model.device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        result = work()
        if self.pipeline.model.device.type == "cuda":
            torch.cuda.synchronize()
        self.add(path, call, result, time.perf_counter() - started)
        return result

    def add(self, path: str, call: str, result: Any, seconds: float) -> None:
        """Note a call."""
        self.found.steps.append(Step(path, call, described(result), _rms(result), _size(result), seconds))

    def _keep_preview(self, _: str, __: Any, media: Any, name: str, *___: Any) -> None:
        preview = self.pipeline.compiler.modalities[name].preview(media)
        self.found.pictures.append((f"{name}: {described(media)}", preview))

    def _keep_decoded(self, path: str, codec: Any, codes: list[Tensor], *_: Any) -> None:
        name = path.partition(".")[0]
        with torch.no_grad():
            for media in codec.decode(codes):
                preview = self.pipeline.compiler.modalities[name].preview(media)
                self.found.pictures.append((f"{name} as its codes have it", preview))


def described(value: Any) -> str:
    """Return shapes and dtypes of what a step gives, in one line."""
    if isinstance(value, Tensor):
        if not value.ndim:
            return f"{float(value.detach()):.4g}"
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, np.ndarray):
        return f"{cast(Any, value).shape} {cast(Any, value).dtype}"
    if isinstance(value, Features):
        grids = f", grid {value.grids[0]}" if value.grids else ""
        return f"{described(value.values)} of {len(value.lengths)} items{grids}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {described(each)}" for name, each in cast("Mapping[str, Any]", value).items())
    if value is None:
        return ""
    if isinstance(value, list) and value and isinstance(value[0], int):
        return f"{len(cast('list[int]', value))} positions"
    if isinstance(value, list | tuple):
        return "; ".join(described(each) for each in cast("Sequence[Any]", value))
    if is_dataclass(value):
        arrays: dict[str, Any] = {name: each for name, each in vars(value).items() if hasattr(each, "dtype")}
        return f"{type(value).__name__} {described(arrays)}".strip()
    size = getattr(cast(object, value), "size", None)
    return f"{type(cast(object, value)).__name__}{'' if size is None or callable(size) else f' {size}'}"


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in what a step gives."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Features):
        return [value.values]
    if isinstance(value, Mapping):
        return [tensor for each in cast("Mapping[str, Any]", value).values() for tensor in _tensors(each)]
    if isinstance(value, list | tuple):
        return [tensor for each in cast("Sequence[Any]", value) for tensor in _tensors(each)]
    return []


def _rms(value: Any) -> float | None:
    floating = [tensor.detach().float() for tensor in _tensors(value) if tensor.is_floating_point() and tensor.numel()]
    if not floating:
        return None
    total = sum(float(tensor.square().sum()) for tensor in floating)
    return math.sqrt(total / sum(tensor.numel() for tensor in floating))


def _size(value: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(value))


def page(found: Trace) -> str:
    """Return a trace as an HTML page that opens offline."""
    title = html.escape(f"The way of {found.place}")
    head = "".join(f"<th>{word}</th>" for word in ("part", "call", "gives", "RMS", "kB", "ms"))
    rows = "".join(
        f"<tr><td>{html.escape(step.path)}</td><td>{step.call}</td><td>{html.escape(step.result)}</td>"
        f"<td>{'' if step.rms is None else f'{step.rms:.3g}'}</td><td>{step.bytes / 1e3:,.1f}</td>"
        f"<td>{step.seconds * 1e3:.2f}</td></tr>"
        for step in found.steps
    )
    pictures = "".join(
        f'<td><img alt="" src="data:image/png;base64,{b64encode(png).decode()}">{html.escape(words)}</td>'
        for words, png in found.pictures
    )
    losses = "".join(f"<tr><th>{html.escape(name)}</th><td>{loss:.4f}</td></tr>" for name, loss in found.losses.items())
    norms = "".join(
        f"<tr><th>{html.escape(path)}</th><td>{'none' if norm is None else f'{norm:.3g}'}</td></tr>"
        for path, norm in found.gradients.items()
    )
    blocks = [
        f'<table class="samples"><tr>{pictures}</tr></table>',
        f"<h2>Steps</h2><table><tr>{head}</tr>{rows}</table>",
        f"<h2>Positions</h2>{_strip(found.runs)}",
        f"<h2>Loss per head</h2><table>{losses}</table>",
        f"<h2>Norm of the gradient per part</h2><table>{norms}</table>",
    ]
    body = "\n".join(blocks)
    return (
        f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>\n{body}\n'
    )


def _strip(runs: Sequence[Run]) -> str:
    """Return positions as coloured words: learned ones underlined."""
    pieces: list[str] = []
    for run in runs:
        words = run.get("text") or f"[{run.get('modality')}.{run.get('pathway')} x {run['end'] - run['start']}]"
        colour = COLOURS[("text", "special", "item").index(run["kind"])]
        line = "underline" if run["learned"] else "none"
        pieces.append(f'<span style="color:{colour};text-decoration:{line}">{html.escape(str(words))}</span>')
    return f"<p>{' '.join(pieces)}</p><small>underlined: learned</small>"
