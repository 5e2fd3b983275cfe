"""Several processes that train one model: each takes its share of every step's rows, and all take the same step.

Gradients and counts are summed over all processes, so that losses are those of one process that has all the rows; a
process whose rows lack a modality adds nothing to its gradients. Started by `torchrun` or anything else that sets RANK,
WORLD_SIZE and MASTER_ADDR.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

T = TypeVar("T")
LONGEST_NAME = 4096
"""Bytes of the path of a run folder that is told to all processes."""
FAULT = "polyjanus/fault"
"""Where processes tell each other why they fail."""
PATIENCE = timedelta(seconds=3)
"""How long a process that fails waits for others that may fail too."""


class Ranks:
    """This process among the others; alone, nothing is sent to anybody."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def is_first(self) -> bool:
        """Tell whether this is the process that writes and shows."""
        return self.rank == 0

    def share(self, rows: Sequence[T]) -> Sequence[T]:
        """Return this process' share of rows."""
        return rows[self.rank :: self.world]

    def sum(self, values: Iterable[float], device: torch.device) -> list[float]:
        """Return sums over all processes of numbers that each has in the same order."""
        given = torch.tensor(list(values), dtype=torch.float64, device=device)
        return cast("list[float]", cast(Any, self._summed(given)).tolist())

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every parameter the sum of its gradients over all processes; one that nobody has stays without."""
        if self.world == 1 or not parameters:
            return
        device = parameters[0].device
        flags = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
        has_any = self._summed(flags) > 0
        for dtype in {parameter.dtype for parameter in parameters}:
            mine = [p for p, is_there in zip(parameters, has_any, strict=True) if is_there and p.dtype == dtype]
            if not mine:
                continue
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in mine])
            whole, start = self._summed(flat), 0
            for parameter in mine:
                parameter.grad = whole[start : start + parameter.numel()].view_as(parameter).clone()
                start += parameter.numel()

    def mean_statistics(self, module: nn.Module) -> None:
        """Give the batch statistics of a module their mean over all processes: each saw other rows."""
        for part in module.modules() if self.world > 1 else ():
            if not isinstance(part, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
                continue
            for buffer in part.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self._summed(buffer.detach().clone()) / self.world)

    def agree(self, is_so: bool, device: torch.device) -> bool:
        """Tell whether any process says so."""
        return is_so if self.world == 1 else self.sum([float(is_so)], device)[0] > 0

    def most(self, value: float, device: torch.device) -> float:
        """Return the largest of the numbers that the processes have."""
        if self.world == 1:
            return value
        given = torch.tensor(value, dtype=torch.float64, device=device)
        _collectives().all_reduce(given, _collectives().ReduceOp.MAX)
        return float(given)

    def tell(self, text: str, device: torch.device) -> str:
        """Return what the first process says."""
        if self.world == 1:
            return text
        content = text.encode()[:LONGEST_NAME].ljust(LONGEST_NAME, b"\0")
        told = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(device)
        _collectives().broadcast(told, 0)
        return bytes(cast("list[int]", cast(Any, told.cpu()).tolist())).rstrip(b"\0").decode()

    def is_told(self, fault: str) -> bool:
        """Tell whether the first process fails with these words too, and says them for all; it waits for the others."""
        if self.world == 1:
            return False
        others = [f"{FAULT}/{rank}" for rank in range(1, self.world)]
        try:
            store = _collectives().distributed_c10d._get_default_store()
            if self.is_first:
                store.set(FAULT, fault)
                store.wait(others, PATIENCE)
                return False
            store.wait([FAULT], PATIENCE)
            is_same = store.get(FAULT).decode() == fault
            store.set(others[self.rank - 1], "")
        except RuntimeError:  # the others go on, or are gone
            return False
        return is_same

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            _collectives().barrier()

    def _summed(self, value: Tensor) -> Tensor:
        if self.world > 1:
            _collectives().all_reduce(value)
        return value


def is_lost_peer(error: RuntimeError) -> bool:
    """Tell whether an error says that another process could not be reached, which is then the one that knows why."""
    return isinstance(error, _collectives().DistError) or any(word in str(error) for word in ("gloo", "NCCL"))


def _collectives() -> Any:
    return cast(Any, torch.distributed)


@contextmanager
def joined(device: str) -> Generator[tuple[Ranks, str]]:
    """Join the processes that the environment names, if it names any; yields them and this process' device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(), device
        return
    has_gpu = torch.cuda.is_available() and device != "cpu"
    if has_gpu and device == "auto":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    _collectives().init_process_group("nccl" if has_gpu else "gloo")
    try:
        yield Ranks(int(os.environ["RANK"]), world), device
    finally:
        _collectives().destroy_process_group()
