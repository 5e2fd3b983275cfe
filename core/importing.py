"""Modules that are first imported while something is built without memory keep the values of their own tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FrameType
from typing import Any, Self, cast

import torch
from torch.overrides import TorchFunctionMode


class ImportsKeepValues(TorchFunctionMode):
    """A context, inside `torch.device("meta")`, in which tensors that a module makes at import are made on the CPU.

    Components import their libraries when they are built. Without this, a constant such as
    `EPSILON = torch.tensor(1e-7)` of a module that is first imported then has no value for the rest of the process.
    """

    _outside: FrameType | None = None

    def __enter__(self) -> Self:
        here = inspect.currentframe()
        self._outside = here.f_back if here else None
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._outside = None
        cast(Any, super()).__exit__(*error)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, on the CPU where a module is being imported."""
        if not self._is_importing():
            return func(*args, **kwargs or {})
        with torch.device("cpu"):
            return func(*args, **kwargs or {})

    def _is_importing(self) -> bool:
        """Tell whether the body of a module runs between here and the place where the context was entered."""
        frame = inspect.currentframe()
        while frame is not None and frame is not self._outside:
            if frame.f_code.co_name == "<module>":
                return True
            frame = frame.f_back
        return False
