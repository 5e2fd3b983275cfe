"""The torch side of `encodec`, `dac` and `mimi`: transformers' neural codecs, trained by others.

Shape letters: B items, T samples, N frames, K code books.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from polyjanus.core.errors import MediaError, SequenceError, WiringError
from polyjanus.core.hf import library
from polyjanus.core.modules import Codec, Prepared, in_groups
from polyjanus.core.settings import BuildContext
from polyjanus.encoders.audio.media import Audio
from polyjanus.encoders.shared.checkpoints import config_from, keep_buffers, reset_tower
from polyjanus.encoders.shared.signals import SignalModality


class NeuralCodec(Codec):
    """Mono sound of at most `seconds` as the first `codebooks` residual codes of each frame."""

    def __init__(
        self,
        architecture: dict[str, Any],
        modality: SignalModality,
        context: BuildContext,
        *,
        codebooks: int | None,
        seconds: float,
        is_fixed: bool,
    ) -> None:
        super().__init__()
        config = config_from(architecture, context)
        if getattr(config, "audio_channels", 1) != 1 or getattr(config, "normalize", False):
            raise WiringError("only mono codecs without scales can be written as codes alone", paths=[context.path])
        self.modality = modality
        self.tower = keep_buffers(library().AutoModel.from_config(config))
        self._draw_books()
        self.sample_rate = config.sampling_rate
        books, self.cardinality, self.hop = describe_codec(config)
        self.num_codebooks = codebooks or books
        if self.num_codebooks > books:
            raise WiringError(f"{config.model_type!r} has {books} code books, not {codebooks}", paths=[context.path])
        self.max_codes = max(1, ceil(round(seconds * self.sample_rate, 6) / self.hop))
        self.min_codes = self.max_codes if is_fixed else 1

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the codec, and forget the tables that Mimi's books keep aside: they would stay where they were."""
        for module in self.tower.modules():
            if getattr(module, "_embed", None) is not None:
                module._embed = None
        return super()._apply(fn, recurse)

    def reset_parameters(self) -> None:
        """Draw the weights anew, code books too."""
        reset_tower(self.tower)
        self._draw_books()

    def _draw_books(self) -> None:
        """Fill the code books of EnCodec and Mimi, which start with zeros: every code would be the first."""
        for name, value in self.tower.named_buffers():
            if name.endswith(("codebook.embed", "codebook.embed_sum")):
                nn.init.normal_(value)

    def prepare(self, media: Audio) -> Prepared:
        """Return the wave (1, N · hop); the end is filled up with silence, or cut where all have one length."""
        samples = self.modality.samples_of(self.modality.resampled(media, self.sample_rate)).mean(0)
        wave = torch.from_numpy(samples)
        count = self.max_codes if self.min_codes == self.max_codes else ceil(wave.shape[0] / self.hop)
        if count > self.max_codes:
            raise MediaError(
                f"{wave.shape[0] / self.sample_rate:g} s are more than the codec's"
                f" {self.max_codes * self.hop / self.sample_rate:g} s",
                where=self.modality.name,
                hint="take a part with 'start' and 'duration', or raise 'seconds' of the codec",
            )
        length = count * self.hop
        return {"wave": nn.functional.pad(wave[:length], (0, max(0, length - wave.shape[0])))[None]}

    def num_codes(self, prepared: Prepared) -> int:
        """Return the number of frames."""
        return prepared["wave"].shape[1] // self.hop

    @torch.no_grad()
    def encode(self, items: Sequence[Prepared]) -> list[Tensor]:
        """Return the codes (N, K) of each item; the tower is in evaluation mode meanwhile."""
        was_training = self.tower.training
        self.tower.eval()
        try:
            return in_groups(items, self._codes, self)
        finally:
            self.tower.train(was_training)

    @torch.no_grad()
    def decode(self, codes: Sequence[Tensor]) -> list[Audio]:
        """Return the sound of each item's codes (N, K), exactly N · hop samples."""
        wrong = [item for item in codes if item.ndim != 2 or not item.shape[0] or item.shape[1] != self.num_codebooks]
        if wrong:
            raise SequenceError(f"codes are (1 or more, {self.num_codebooks}), these are {tuple(wrong[0].shape)}")
        place = next(self.parameters()).device
        waves = in_groups([{"codes": item.to(place)} for item in codes], self._waves, self)
        copies = len(self.modality.channels)
        return [
            self.modality.make(wave.float().clamp(-1, 1).cpu().numpy()[None].repeat(copies, 0), self.sample_rate)
            for wave in waves
        ]

    def _codes(self, wave: Tensor) -> Tensor:
        """Return codes (B, N, K) of waves (B, 1, T)."""
        codes = self.tower.encode(wave, **self._books()).audio_codes
        codes = codes[0] if codes.ndim == 4 else codes  # EnCodec counts chunks first
        return codes[:, : self.num_codebooks].transpose(1, 2)

    def _waves(self, codes: Tensor) -> Tensor:
        """Return waves (B, N · hop) of codes (B, N, K)."""
        books = codes.transpose(1, 2)
        model_type = self.tower.config.model_type
        if model_type == "encodec":
            wave = self.tower.decode(books[None], [None]).audio_values
        elif model_type == "dac":
            wave = self.tower.decode(audio_codes=books).audio_values
        else:
            wave = self.tower.decode(books).audio_values
        wave = wave.reshape(wave.shape[0], -1)
        length = codes.shape[1] * self.hop
        return nn.functional.pad(wave[:, :length], (0, max(0, length - wave.shape[1])))

    def _books(self) -> dict[str, Any]:
        """Return how the tower is told to compute no more books than are used."""
        config = self.tower.config
        if config.model_type == "mimi":
            return {"num_quantizers": self.num_codebooks}
        if config.model_type == "dac":
            return {"n_quantizers": self.num_codebooks}
        bits = config.codebook_size.bit_length() - 1
        enough = [b for b in config.target_bandwidths if b * 1000 >= bits * self.num_codebooks * config.frame_rate]
        return {"bandwidth": min(enough, default=max(config.target_bandwidths))}


def describe_codec(config: Any) -> tuple[int, int, int]:
    """Return code books, codes per book, and samples per frame of a transformers config."""
    if config.model_type == "dac":
        return config.n_codebooks, config.codebook_size, config.hop_length
    if config.model_type == "mimi":
        return config.num_quantizers, config.codebook_size, round(config.sampling_rate / config.frame_rate)
    return config.num_quantizers, config.codebook_size, config.hop_length
