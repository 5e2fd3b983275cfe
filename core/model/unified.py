"""The unified model: embed, scatter, backbone, route to heads; everything inside one forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyjanus.core import hf
from polyjanus.core.checkpoints.assigning import attach
from polyjanus.core.errors import SequenceError
from polyjanus.core.losses import fused_cross_entropy, is_fused
from polyjanus.core.model.building import Marks, Parts
from polyjanus.core.model.checks import check_adapted, encoded_codes, encoded_features
from polyjanus.core.model.config import UnifiedConfig
from polyjanus.core.model.lora import inject
from polyjanus.core.modules import Adaptor, Backbone, Codec, CodeEmbedding, Encoder, Features, Head, Kept
from polyjanus.core.sequence.packing import IGNORED, Batch, causal_mask

Sums = dict[str, tuple[Tensor, Tensor]]
"""Per head, the summed loss and the number of targets."""


@dataclass
class UnifiedOutput(hf.ModelOutput):
    """What a forward pass gives: the loss per target, and its parts per head as (sum, count)."""

    loss: Tensor | None = None
    sums: Sums | None = None


class UnifiedModel(hf.PreTrainedModel):
    """All modules of a pipeline under their component paths, around one transformer.

    A batch is what `collate` gives; `model(**batch)` returns the loss and the sums behind it, so that a plain loop or
    transformers' Trainer can train it.
    """

    config_class = UnifiedConfig
    main_input_name = "ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: UnifiedConfig, parts: Parts | None = None) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        is_whole = parts is None
        parts = parts or config.assemble()
        self.vocabulary = config.vocabulary_of()
        self.layouts = parts.layouts
        self.samplers = parts.samplers
        self.modalities = parts.modalities
        self.loss_weights = config.loss_weights()
        if is_whole and (lora := config.lora()):  # a caller who gives the parts adds these once they are filled
            inject(parts.modules, lora, seed=0)
        attach(self, parts.modules)
        self.post_init()
        self.all_tied_weights_keys = shared_names(self)

    def init_weights(self) -> None:
        """Draw nothing: every component drew its own weights when it was built."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Let the owner fill what a checkpoint did not hold, such as derived buffers; what it did hold is kept."""
        tensors = [*module.parameters(), *module.buffers()]
        loaded = [(tensor, tensor.clone()) for tensor in tensors if getattr(tensor, "_is_hf_initialized", False)]
        if any(part is module for part in self.part("text").modules()):
            cast(Backbone, self.part("backbone")).reset_text(module)
        else:
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        for tensor, value in loaded:
            tensor.copy_(value)

    def part(self, path: str) -> nn.Module:
        """Return the module at a component path."""
        return self.get_submodule(path)

    def has(self, path: str) -> bool:
        """Tell whether there is a module at a component path."""
        try:
            self.get_submodule(path)
        except AttributeError:
            return False
        return True

    def get_input_embeddings(self) -> nn.Module:
        """Return the text embedding."""
        return self.part("text.embedding")

    def get_output_embeddings(self) -> nn.Module | None:
        """Return the text head; there is none where only media are written."""
        return self.part("text.head") if self.has("text.head") else None

    def embed_text(self, ids: Tensor) -> Tensor:
        """Return embeddings (…, d) of text ids and marks (…)."""
        size = self.vocabulary.size
        embeddings = self.part("text.embedding")(ids.clamp(max=size - 1))
        if not self.vocabulary.num_marks:
            return embeddings
        marks = cast(Marks, self.part("marks")).embedding((ids - size).clamp(min=0))
        return torch.where((ids >= size).unsqueeze(-1), marks.to(embeddings.dtype), embeddings)

    def text_logits(self, hidden: Tensor) -> Tensor:
        """Return logits (…, V) over the text vocabulary and the marks."""
        logits = self.part("text.head")(hidden)
        if not self.vocabulary.num_marks:
            return logits
        return torch.cat([logits, cast(Marks, self.part("marks")).head(hidden).to(logits.dtype)], dim=-1)

    def embed_frames(self, modality: str, frames: Tensor) -> Tensor:
        """Return embeddings (S, d) of frames (S, K') of one generated modality."""
        embedding = cast(CodeEmbedding, self.part(f"{modality}.generate.embedding"))
        adaptor = cast(Adaptor, self.part(f"{modality}.generate.adaptor"))
        return adaptor(Features(embedding(frames), (frames.shape[0],))).values

    def embed(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return embeddings (B, N, d) of a batch, and the frames (ΣS, K') of each generated modality in it."""
        embeddings = self.embed_text(batch["ids"])
        frames: dict[str, Tensor] = {}
        for name, block in cast("Mapping[str, Any]", batch["media"]).items():
            modality, pathway = name.rsplit(".", 1)
            if pathway == "generate":
                frames[modality] = self.frames(modality, block)
                values = self.embed_frames(modality, frames[modality])
            else:
                values = self._understand(modality, block)
            rows, columns = _places(block, embeddings.device)
            embeddings = embeddings.index_put((rows, columns), values.to(embeddings.dtype))
        return embeddings, frames

    def frames(self, modality: str, block: Mapping[str, Any]) -> Tensor:
        """Return the frames (ΣS, K') of the items of a block: its codes where it has them, else the codec's."""
        layout = self.layouts[modality]
        codes = block.get("codes")
        if codes is None:
            codec = cast(Codec, self.part(f"{modality}.generate.codec"))
            with torch.no_grad():
                codes = encoded_codes(codec, block["items"])
        return torch.cat([layout.pack(item) for item in codes]).to(self.device)

    def _understand(self, modality: str, block: Mapping[str, Any]) -> Tensor:
        """Return the adapted features (ΣN, d) of the items of a block."""
        encoder = cast(Encoder, self.part(f"{modality}.understand.encoder"))
        adaptor = cast(Adaptor, self.part(f"{modality}.understand.adaptor"))
        is_frozen = not any(parameter.requires_grad for parameter in encoder.parameters())
        if not is_frozen and torch.is_grad_enabled() and any(isinstance(item, Kept) for item in block["items"]):
            hint = "what was computed before cannot train it: compile the rows after it was made trainable"
            raise SequenceError("an encoder that is trained was given kept features", where=modality, hint=hint)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not is_frozen):
            features = encoded_features(encoder, block["items"])
        width = cast(Backbone, self.part("backbone")).width
        return check_adapted(f"{modality}.understand", adaptor, adaptor(features), block, width)

    def hidden(self, embeddings: Tensor, positions: Tensor, mask: Tensor | None, cache: Any = None) -> Tensor:
        """Return the backbone's hidden states (B, N, d)."""
        return cast(Backbone, self.part("backbone"))(embeddings, positions, mask, cache)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        documents: Tensor,
        targets: Tensor,
        media: Mapping[str, Any] | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **_: Any,
    ) -> UnifiedOutput:
        """Return the loss of a batch of (B, N) tensors, as `collate` makes it.

        The loss is Σ weight · sum / Σ count over all heads; positions are chosen per head before any logits.
        `num_items_in_batch` takes the place of Σ count where an optimiser step has several batches.
        """
        batch: Batch = {"ids": ids, "media": media or {}}
        embeddings, frames = self.embed(batch)
        hidden = self.hidden(embeddings, positions, causal_mask(documents))
        sums: Sums = {"text": self._text_loss(hidden, targets)}
        for modality, targets_of in frames.items():
            block = batch["media"][f"{modality}.generate"]
            sums[f"{modality}.generate"] = self._media_loss(modality, hidden, targets_of, block)
        return UnifiedOutput(loss=self.total(sums, num_items_in_batch), sums=sums)

    def total(self, sums: Sums, count: Tensor | int | None = None) -> Tensor:
        """Return Σ weight · sum / Σ count, or over a `count` that is given."""
        if count is None:
            count = torch.stack([count.to(self.device) for _, count in sums.values()]).sum().clamp(min=1)
        weighted = [self.loss_weights[name] * value for name, (value, _) in sums.items()]
        return torch.stack(weighted).sum() / count

    def _text_loss(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        chosen = targets != IGNORED
        states, wanted, head = hidden[chosen], targets[chosen], self.part("text.head")
        if is_fused(len(wanted), self.vocabulary.size, head):
            return fused_cross_entropy(states, *self._text_product(cast(nn.Linear, head)), wanted), chosen.sum()
        logits = self.text_logits(states).float()
        return functional.cross_entropy(logits, wanted, reduction="sum"), chosen.sum()

    def _text_product(self, head: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """Return the matrix (V, d) behind the logits of text and marks, and its bias (V,) if there is one."""
        bias = cast("Tensor | None", head.bias)
        if not self.vocabulary.num_marks:
            return head.weight, bias
        weight = torch.cat([head.weight, cast(Marks, self.part("marks")).head.weight.to(head.weight.dtype)])
        spare = self.vocabulary.num_marks
        return weight, None if bias is None else functional.pad(bias, (0, spare))

    def _media_loss(
        self, modality: str, hidden: Tensor, frames: Tensor, block: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        rows, columns = _places(block, hidden.device)
        learned = block["learned"].to(hidden.device).repeat_interleave(block["lengths"].to(hidden.device))
        chosen = hidden[rows[learned], columns[learned] - 1]
        head = cast(Head, self.part(f"{modality}.generate.head"))
        total, count = head.loss(chosen, frames[learned])
        return total, count.to(hidden.device)


hf.library().AutoConfig.register(UnifiedConfig.model_type, UnifiedConfig)
hf.library().AutoModel.register(UnifiedConfig, UnifiedModel)


def shared_names(model: nn.Module) -> dict[str, str]:
    """Return, for each parameter that stands under several names, the later names and the first."""
    first: dict[int, str] = {}
    shared: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = first.setdefault(id(parameter), name)
        if owner != name:
            shared[name] = owner
    return shared


def _places(block: Mapping[str, Any], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return row and column of every position that the items of a block take (ΣN,)."""
    lengths = block["lengths"].to(device)
    rows = block["rows"].to(device).repeat_interleave(lengths)
    starts = block["starts"].to(device).repeat_interleave(lengths)
    first = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    return rows, starts + torch.arange(rows.shape[0], device=device) - first
