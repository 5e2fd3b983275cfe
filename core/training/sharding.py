"""A model that does not fit on one device: its transformer and the text's matrices lie in shards over all processes.

Done by torch's FSDP2: each block is gathered before it is computed and let go afterwards, and its gradients are summed
over the processes into the shards. All other components are whole on every process, which may use them or not; what is
sharded must be computed equally often by all, since gathering it takes everyone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from polyjanus.core.config.schema import StageConfig
from polyjanus.core.errors import TrainingError
from polyjanus.core.modules import Backbone
from polyjanus.core.pipeline import Pipeline
from polyjanus.core.sequence.packing import IGNORED, Batch
from polyjanus.core.training.ranks import Ranks

SHARDED = ("backbone.", "text.")
"""How the names of what is sharded begin: every process computes it in every pass."""


class Sharding:
    """How the weights of a model lie over the processes; where it is off, every process has all of them."""

    def __init__(self, ranks: Ranks | None = None, *, is_asked: bool = False, is_mixed: bool = False) -> None:
        self.ranks = ranks or Ranks()
        self.is_on = is_asked and self.ranks.world > 1
        self.is_mixed = is_mixed

    def check(self, stages: Sequence[StageConfig]) -> None:
        """Refuse what cannot be done with shards, before anything is done."""
        for stage in stages if self.is_on else ():
            if stage.optimizer != "adamw":
                raise TrainingError(
                    f"stage {stage.name!r} has the optimizer {stage.optimizer!r}, which cannot train shards",
                    hint="with 'training.shard: true' use 'optimizer: adamw', whose state lies in shards too",
                )

    def place(self, pipeline: Pipeline, device: torch.device) -> None:
        """Put a model on this process' device, in shards block by block, so that it never stands there whole."""
        if not self.is_on:
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        model = pipeline.model
        named = model.named_parameters(remove_duplicate=False)
        whole = {parameter for name, parameter in named if not name.startswith(SHARDED)}
        rounded = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        options: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (self.ranks.world,)),
            "mp_policy": rounded if self.is_mixed else MixedPrecisionPolicy(),
            "ignored_params": whole,
            "reshard_after_forward": True,
        }
        backbone = cast(Backbone, model.part("backbone"))
        for module in (*backbone.blocks(), model):
            sharded = cast(Any, fully_shard(module, **options))
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)  # gloo knows no other
        backbone.register_forward_pre_hook(_start_graph)
        pipeline.to(str(device))

    def missing(self, passes: int, device: torch.device) -> int:
        """Return how many passes this process has fewer than the one that has most; each takes all of them."""
        return int(self.ranks.most(passes, device)) - passes if self.is_on else 0

    def arithmetic(self, device: torch.device) -> AbstractContextManager[Any]:
        """Compute as training does, where what is gathered was rounded to bfloat16."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.is_on and self.is_mixed)

    @contextmanager
    def alone(self, pipeline: Pipeline) -> Generator[bool]:
        """Let the first process use the model without the others, which wait; yields whether this is the first.

        What is sharded is gathered on every device for that time, and runs without FSDP's hooks, which count calls.
        """
        model, step = pipeline.model, pipeline.engine.step
        parts = [module for module in _modules(model) if hasattr(module, "unshard")] if self.is_on else []
        hooks = [(part._forward_pre_hooks, part._forward_hooks) for part in parts]
        for part in parts:
            part.unshard()
            part._forward_pre_hooks, part._forward_hooks = {}, {}
        pipeline.engine.step = "plain" if parts else step  # nothing is captured of weights that go away
        try:
            with self.arithmetic(model.device):
                yield self.ranks.is_first
        finally:
            pipeline.engine.step = step
            for part, (before, after) in zip(parts, hooks, strict=True):
                part._forward_pre_hooks, part._forward_hooks = before, after
                part.reshard()
        self.ranks.wait()

    @contextmanager
    def gathered(self, model: nn.Module) -> Generator[None]:
        """Let the model's state dict be that of one process, on the first process; all take part."""
        found: dict[str, Tensor] = {}
        known: dict[int, Tensor] = {}
        for name, value in model.state_dict(keep_vars=True).items() if self.is_on else ():
            if is_shard(value):
                known[id(value)] = known[id(value)] if id(value) in known else self.whole(value)
                found[name] = known[id(value)]

        def put(_module: nn.Module, state: dict[str, Any], _prefix: str, _metadata: Any) -> None:
            state.update(found)

        handle = cast(Any, model).register_state_dict_post_hook(put)
        try:
            yield
        finally:
            handle.remove()

    def whole(self, value: Any) -> Any:
        """Return a tensor as one process would have it, on the CPU of the first process, and nothing on all others."""
        if not is_shard(value):
            return value
        gathered = cast(Tensor, value.detach().full_tensor())
        return gathered.cpu() if self.ranks.is_first else gathered.new_empty(0)

    def state_of(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return an optimiser's state dict as one process would have it; of use on the first process."""
        found = optimizer.state_dict()
        state = cast("dict[int, dict[str, Any]]", found["state"])
        return {**found, "state": {i: {n: self.whole(v) for n, v in entry.items()} for i, entry in state.items()}}

    @contextmanager
    def apart(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        """Let an optimiser take shards and whole tensors one after the other, since it cannot take both at once."""
        groups = optimizer.param_groups
        if self.is_on:
            optimizer.param_groups = [
                {**group, "params": part} for group in groups for part in _split(group["params"]) if part
            ]
        try:
            yield
        finally:
            optimizer.param_groups = groups

    @torch.no_grad()
    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
        """Scale gradients down to a norm of at most `limit`, and return their norm over all processes."""
        device = parameters[0].device
        shards, rest = _split([parameter.grad for parameter in parameters if parameter.grad is not None])
        norm = torch.nn.utils.get_total_norm(rest)
        grads = [local(grad) for grad in (*shards, *rest)]
        if self.is_on:
            mine = torch.nn.utils.get_total_norm(grads[: len(shards)])
            squares = self.ranks.sum([float(mine) ** 2], device)[0]
            norm = torch.tensor((float(norm) ** 2 + squares) ** 0.5, device=device)
        if grads:
            cast(Any, torch)._foreach_mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0))
        return norm


def local(value: Tensor) -> Tensor:
    """Return what this process has of a tensor."""
    return cast(Any, value).to_local() if is_shard(value) else value


def spread(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor in shards over the processes where `like`, of the same shape, lies so."""
    if not is_shard(like) or is_shard(value) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    place = cast(Any, like)
    return distribute_tensor(value.to(like.device), place.device_mesh, place.placements, src_data_rank=None)


def blank(pad: int) -> Batch:
    """Return the smallest batch: one position without a target, whose loss and gradients are zero."""
    zero = torch.zeros(1, 1, dtype=torch.long)
    return {"ids": zero + pad, "positions": zero, "documents": zero, "targets": zero + IGNORED, "media": {}}


def _start_graph(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Begin autograd's graph in front of the backbone, so that all processes go back through it or none does."""
    embeddings, *rest = given
    if torch.is_grad_enabled() and not embeddings.requires_grad:
        embeddings = embeddings.detach().requires_grad_()
    return (embeddings, *rest)


def is_shard(value: Any) -> bool:
    """Tell whether a tensor lies in shards over the processes."""
    return hasattr(value, "full_tensor")


def _split(tensors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the shards among tensors, and all others."""
    return [each for each in tensors if is_shard(each)], [each for each in tensors if not is_shard(each)]


def _modules(model: nn.Module) -> list[Any]:
    return list(cast("Iterator[Any]", model.modules()))
