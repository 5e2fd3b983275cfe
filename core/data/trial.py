"""A pipeline's data without its weights: rows are read and compiled by parts on the meta device, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from polyjanus.core import hf
from polyjanus.core.assembling import build_compiler, build_tokenizer, with_own_template
from polyjanus.core.config.reading import Loaded
from polyjanus.core.config.schema import BadRowsConfig, PipelineConfig, TrainingConfig
from polyjanus.core.data.compiling import RowCompiler
from polyjanus.core.decoding.decoder import Decoder
from polyjanus.core.model.wiring import Wiring
from polyjanus.core.registry import Registries
from polyjanus.core.sequence.spans import Compiler, Vocabulary


def trial_compiler(loaded: Loaded, wiring: Wiring, registries: Registries, plugins: Sequence[str | Path]) -> Compiler:
    """Return what compiles messages as a run of this pipeline would; `wiring` has its parts."""
    folder = Path(loaded.document.file).absolute().parent
    with hf.offline():
        tokenizer = build_tokenizer(loaded.config, folder, registries)
        config = with_own_template(loaded.config, folder, registries)
        vocabulary = Vocabulary.of(tokenizer, wiring.parts.vocab_size, config.generated())
        compiler = build_compiler(config, folder, wiring.parts, tokenizer, vocabulary)
    return replace(compiler, decoder=Decoder(compiler.modalities, plugins))


def row_compiler(config: PipelineConfig, compiler: Compiler) -> RowCompiler:
    """Return what compiles rows as a run would, cut to its `max_tokens`."""
    longest: int = config.training.max_tokens if config.training else TrainingConfig.model_fields["max_tokens"].default
    return RowCompiler(lambda messages: compiler.compile(messages, is_prompt=False), longest)


def bad_rows_config(config: PipelineConfig) -> BadRowsConfig:
    """Return how many bad rows a run would put up with."""
    return config.training.bad_rows if config.training else BadRowsConfig()
