"""The one object that touches raw inputs and outputs: messages in, replies out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, cast

import torch

from polyjanus.core import hf
from polyjanus.core.assembling import STORED, Assembly, assemble, compute_dtype, fill, find_device
from polyjanus.core.checkpoints.assigning import assign_tensors
from polyjanus.core.checkpoints.atomic import atomic_dir
from polyjanus.core.checkpoints.card import YAML, card
from polyjanus.core.checkpoints.components import save_components, unique_state
from polyjanus.core.checkpoints.formats import Exported
from polyjanus.core.checkpoints.merging import merged_state, without_lora
from polyjanus.core.checkpoints.opening import Opened, open_checkpoint
from polyjanus.core.checkpoints.starting import Started, start_from
from polyjanus.core.config.document import write_yaml
from polyjanus.core.config.narrowing import narrow
from polyjanus.core.config.reading import read_pipeline, read_sampler
from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.decoding.decoder import Decoder
from polyjanus.core.errors import CheckpointError, UsageError, suggest
from polyjanus.core.generation.choosing import Request
from polyjanus.core.generation.engine import Engine
from polyjanus.core.generation.events import Event
from polyjanus.core.generation.stepping import way_of
from polyjanus.core.keeping.keeper import Keeper, find_home
from polyjanus.core.manager import Plugins, load_plugins
from polyjanus.core.model.config import UnifiedConfig
from polyjanus.core.model.lora import inject
from polyjanus.core.modules import Sampler
from polyjanus.core.picking import is_opaque
from polyjanus.core.prompts import Options, Prompt, as_messages, known_options
from polyjanus.core.registry import Registries
from polyjanus.core.reply import Reply
from polyjanus.core.sequence.packing import Batch, collate
from polyjanus.core.sequence.spans import TokenSequence
from polyjanus.core.sequence.tokenizer import TextTokenizer
from polyjanus.core.settings import BuildContext, ComponentConfig


class Pipeline:
    """A model with everything around it: tokenizer, template, modalities and engine."""

    def __init__(
        self, config: PipelineConfig, assembly: Assembly, plugins: Plugins, whole: PipelineConfig | None = None
    ) -> None:
        self.config = config
        self.whole = whole or config
        """The pipeline of the checkpoint, of which `config` is a part where not all of it was read."""
        self.model = assembly.model
        decoder = Decoder(assembly.compiler.modalities, plugins.files)
        self.compiler = replace(assembly.compiler, decoder=decoder)
        self.parts = assembly.parts
        self.plugins = plugins
        self.started: tuple[Started, ...] = ()
        """What became of the parts that start from other checkpoints."""
        self.source: Path | None = None
        """The folder of the checkpoint, where it comes from one."""
        end = self.tokenizer.require(self.compiler.template.end_of_turn, "end-of-turn")
        self.engine = Engine(self.model, self.tokenizer, end)

    @classmethod
    def from_yaml(
        cls, path: str | Path, overrides: Sequence[str] = (), *, plugins: Plugins | None = None, device: str = "auto"
    ) -> Pipeline:
        """Return the pipeline of a YAML file, untrained but for the parts that name pretrained weights."""
        plugins = plugins or load_plugins()
        config = read_pipeline(Path(path), plugins.registries, overrides).config
        return cls.from_config(config, Path(path).absolute().parent, plugins=plugins, device=device)

    @classmethod
    def from_config(
        cls, config: PipelineConfig, folder: Path, *, plugins: Plugins | None = None, device: str = "auto"
    ) -> Pipeline:
        """Return the pipeline of settings whose relative paths start at `folder`."""
        seed = config.training.seed if config.training else 0
        with cast(Any, torch.random).fork_rng(devices=[]):
            cast(Any, torch).manual_seed(seed)
            plugins = plugins or load_plugins()
            built = assemble(config, folder, plugins.registries)
        fill(built, config, folder, plugins.registries)
        sources = config.training.init_from if config.training else {}
        started = start_from(built.model, sources, folder, plugins.registries, config.component_paths())
        inject(built.parts.modules, config.training.lora if config.training else {}, seed)
        pipeline = cls(config, built, plugins)
        pipeline.started = started
        pipeline.keep(find_home(config, folder))
        return pipeline.to(device)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        overrides: Sequence[str] = (),
        plugins: Plugins | None = None,
        device: str = "auto",
        dtype: str = "auto",
        is_verified: bool = True,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        step: str = "auto",
    ) -> Pipeline:
        """Return the pipeline of a checkpoint: a folder, a run, a trained YAML, a shipped name or a hub id.

        Folders in a registered foreign format are read as they are. `overrides` (`key.path=value`) change what no
        weight depends on, such as `image.generate.sampler.scale=5`. `dtype` is float32, bfloat16, stored, or auto:
        bfloat16 on a GPU that multiplies it natively. Every file that is read is compared with its checksum unless
        told otherwise. `inputs` and `outputs` name the modalities that will be understood and written; what they do not
        need is neither built nor read. `step` is how one step of writing is run: plain, compiled, captured as a CUDA
        graph, or auto, which captures where it can.
        """
        way_of(step, find_device(device))
        plugins = plugins or load_plugins()
        opened = open_checkpoint(source, plugins.registries, overrides=overrides, is_verified=is_verified)
        writes = None if outputs is None else [outputs] if isinstance(outputs, str) else outputs
        whole, config = opened.config, narrow(opened.config, inputs, writes)
        with hf.without_init():
            built = assemble(
                config, opened.folder, plugins.registries, whole=whole, writes_text=writes is None or "text" in writes
            )
        pipeline = cls(config, built, plugins, whole)
        pipeline.source, pipeline.engine.step = opened.folder, step
        pipeline.keep(find_home(config, Path(source).parent, opened.folder))
        return pipeline._take(opened, device, dtype)

    def _take(self, opened: Opened, device: str, dtype: str) -> Pipeline:
        """Take the tensors of a checkpoint in place of the model's own."""
        place = find_device(device)
        paths = tuple(f"{path}." for path in self.parts.modules)
        report = assign_tensors(
            self.model,
            opened.tensors(lambda name: name.startswith(paths)),
            device=place,
            dtype=None if dtype == STORED else compute_dtype(dtype, place),
        )
        if report.fresh or report.unexpected:
            raise CheckpointError(
                f"does not hold what it describes: {report}",
                where=str(opened.folder),
                hint=f"missing: {report.fresh[:5]}; unexpected: {report.unexpected[:5]}",
            )
        return self.to(device, dtype)

    def to(self, device: str, dtype: str = "float32") -> Pipeline:
        """Move the model; device `auto` takes a GPU where there is one, dtype `auto` what suits the device."""
        place = find_device(device)
        self.engine.forget()
        kept = set(self.model.state_dict())
        derived = {name: value for name, value in self.model.named_buffers() if name not in kept}
        cast(Any, self.model).to(place, None if dtype == STORED else compute_dtype(dtype, place))
        for name, value in derived.items():  # angles of rotary positions must stay exact
            owner, _, last = name.rpartition(".")
            self.model.get_submodule(owner).register_buffer(last, value.to(place), persistent=False)
        self.model.eval()
        return self

    def keep(self, home: Path | None) -> None:
        """Use what `polyjanus precompute` kept in a folder from now on, or nothing."""
        self.compiler = replace(self.compiler, keeper=None if home is None else Keeper(cast(Any, self), home))

    @property
    def tokenizer(self) -> TextTokenizer:
        """Return the text tokenizer."""
        return self.compiler.tokenizer

    @property
    def outputs(self) -> list[str]:
        """Return what the pipeline can write: text and its generated modalities."""
        return [*(["text"] if self.model.has("text.head") else []), *self.config.generated()]

    @property
    def is_whole(self) -> bool:
        """Tell whether all of the checkpoint was read."""
        return self.config == self.whole and self.model.has("text.head")

    def __repr__(self) -> str:
        """Return what it reads and writes."""
        return f"Pipeline(understands {['text', *self.compiler.understandings]}, writes {self.outputs})"

    def messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        """Return messages of whatever a user may hand over."""
        return as_messages(prompt, self.compiler.modalities, self.compiler.understandings)

    def run(self, prompt: Prompt, output: Sequence[str] = ("text",), **options: Unpack[Options]) -> Reply:
        """Return the reply to one prompt.

        `output` are the kinds that the reply may hold: with text among them the model chooses, else each is written
        once. `seed`, `max_tokens` of text and `samplers` are optional. These last are settings by output, as in YAML:
        `samplers={"image": {"type": "guided", "scale": 5.0}, "text": "greedy"}`.
        """
        return self.run_many([prompt], output, **known_options("run", options))[0]

    def run_many(
        self, prompts: Sequence[Prompt], output: Sequence[str] = ("text",), **options: Unpack[Options]
    ) -> list[Reply]:
        """Return one reply per prompt, computed together; output and options are those of `run`."""
        known_options("run_many", options)
        replies = [Reply(modalities=self.compiler.modalities) for _ in prompts]
        for event in self.stream_many(prompts, output, **options):
            replies[event.row].add(event)
        return replies

    def stream(self, prompt: Prompt, output: Sequence[str] = ("text",), **options: Unpack[Options]) -> Iterator[Event]:
        """Yield the events of the reply to one prompt while it is written; output and options are those of `run`."""
        return self.stream_many([prompt], output, **known_options("stream", options))

    def stream_many(
        self, prompts: Sequence[Prompt], output: Sequence[str] = ("text",), **options: Unpack[Options]
    ) -> Iterator[Event]:
        """Yield the events of replies while they are written; closing the iterator ends the work."""
        known_options("stream_many", options)
        seed, max_tokens, samplers = (options.get("seed", 0), options.get("max_tokens", 512), options.get("samplers"))
        self.model.eval()
        if isinstance(prompts, str):
            raise UsageError("many prompts come as a list", hint="for one prompt there are `run` and `stream`")
        if max_tokens < 1 or not isinstance(cast(object, seed), int):
            raise UsageError(f"max_tokens is a number from 1 and seed a whole number, not {max_tokens!r} and {seed!r}")
        if not prompts:
            return
        sequences = [self.compile(prompt) for prompt in prompts]
        built = {name: self._sampler(name, settings) for name, settings in (samplers or {}).items()}
        names = [output] if isinstance(output, str) else list(output)
        unread = [name for name in names if name in ("text", *self.whole.generated()) and name not in self.outputs]
        if unread:
            raise UsageError(f"the parts that write {unread[0]!r} were not read", hint="name it among outputs=")
        yield from self.engine.generate(sequences, Request(names, seed, max_tokens, built))

    def _sampler(self, name: str, settings: Mapping[str, Any] | str) -> Sampler:
        if name not in self.outputs:
            raise UsageError(f"a sampler for {name!r}{suggest(name, self.outputs, noun='outputs')}")
        path = f"{name}.sampler"
        return read_sampler(settings, self.plugins.registries, path).build(BuildContext(path=path))

    def compile(self, prompt: Prompt, *, is_prompt: bool = True) -> TokenSequence:
        """Return the token sequence of a prompt, or of a whole conversation that is learned."""
        return self.compiler.compile(self.messages(prompt), is_prompt=is_prompt)

    def collate(self, rows: Sequence[Any]) -> Batch:
        """Return the training batch of rows of messages; a data collator for any loop."""
        sequences = [self.compile(_messages_of(row), is_prompt=False) for row in rows]
        return collate(sequences, pad=self.tokenizer.require(self.tokenizer.pad, "padding"))

    def save(
        self, folder: str | Path, *, dtype: torch.dtype | None = None, notes: Mapping[str, Any] | None = None
    ) -> Path:
        """Write a whole checkpoint in one atomic step; `dtype` is how floating tensors are stored."""
        if not self.is_whole:
            raise UsageError(
                "a pipeline that was read in part cannot be saved", hint="read it without inputs=, outputs="
            )
        target = Path(folder)
        with atomic_dir(target, **self.manifest(), **dict(notes or {})) as draft:
            self.write(draft, dtype=dtype)
        return target

    def exported(self) -> Exported:
        """Return the pipeline as plain things, for another format to write."""
        if not self.is_whole:
            raise UsageError("a pipeline that was read in part cannot be exported", hint="read all inputs and outputs")
        resolved = cast(UnifiedConfig, self.model.config).pipeline_of(self.plugins.registries)
        return Exported(without_lora(resolved), self.tokenizer, merged_state(unique_state(self.model), resolved))

    def write(self, folder: Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the files of a checkpoint, the manifest excepted, into an existing folder."""
        save_components(self.model, self.config.component_paths(), folder, dtype)
        self.tokenizer.save(folder)
        config = cast(Any, self.model.config)
        resolved = json.loads(json.dumps(config.pipeline))
        resolved["text"]["tokenizer"] = {"type": "pretrained", "pretrained": "./"}
        write_yaml(resolved, folder / YAML)
        config.save_pretrained(str(folder))
        (folder / "generation_config.json").write_text("{}\n", encoding="utf-8")
        (folder / "README.md").write_text(card(self.compiler.understandings, self.outputs), encoding="utf-8")

    def manifest(self) -> dict[str, Any]:
        """Return who built each component and who else had a part in it, for the manifest."""
        registries, config = self.plugins.registries, self.config
        others = [*config.modalities.values(), *config.data.values(), *config.evaluation.values(), config.template]
        return {
            "components": {path: _made_by(each, registries) for path, each in self.parts.resolved.items()},
            "plugins": [_made_by(each, registries) for each in others if not is_opaque(each)],
        }


def _made_by(settings: ComponentConfig, registries: Registries) -> dict[str, str]:
    origin = registries.of(settings.kind).entry(settings.type).origin
    return {"type": settings.type, "distribution": origin.distribution, "version": origin.version}


def _messages_of(row: Any) -> Any:
    return cast(Any, row)["messages"] if isinstance(row, dict) and "messages" in row else cast(Any, row)
