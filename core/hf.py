"""The only door to transformers: everything that the library is used for goes through here."""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from polyjanus.core.errors import WiringError


def _guard_torchaudio() -> None:
    """Make `import torchaudio` harmless where its binary does not fit this torch.

    transformers imports torchaudio wherever it is installed; a CUDA build beside a CPU torch raises OSError there.
    """
    if "torchaudio" in sys.modules or importlib.util.find_spec("torchaudio") is None:
        return
    try:
        importlib.import_module("torchaudio")
    except (OSError, ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        stub = types.ModuleType("torchaudio._extension")
        stub.__dict__.update(
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _IS_ALIGN_AVAILABLE=False,
            _check_cuda_version=lambda: None,
            fail_if_no_align=_refusing,
        )
        sys.modules["torchaudio._extension"] = stub


def _refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of torchaudio's binary as one that says why it cannot be called."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"{function.__name__} needs torchaudio's binary, which does not fit this torch")

    return refuse


def torchaudio() -> Any:
    """Return torchaudio, whose Python parts work even where its binary does not fit; ImportError without it."""
    return importlib.import_module("torchaudio")


_guard_torchaudio()

from transformers import PreTrainedConfig, PreTrainedModel  # noqa: E402
from transformers.cache_utils import Cache, CacheLayerMixin  # noqa: E402
from transformers.utils.generic import ModelOutput  # noqa: E402

__all__ = [
    "Cache",
    "CacheLayerMixin",
    "ModelOutput",
    "PreTrainedConfig",
    "PreTrainedModel",
    "config_of",
    "library",
    "offline",
    "torchaudio",
]


def library() -> Any:
    """Return the transformers package, for the classes that are looked up by name."""
    return importlib.import_module("transformers")


def without_init() -> AbstractContextManager[None]:
    """Return a context in which modules are built without drawing weights, because they are about to be loaded."""
    from transformers.initialization import no_init_weights

    return no_init_weights()


@contextmanager
def offline() -> Generator[None]:
    """Keep the libraries from asking the hub for anything; what is not in the cache is then missing."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def quiet() -> Generator[None]:
    """Hold back the library's warnings, where it warns of what does not matter here."""
    logging = library().utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def config_of(architecture: dict[str, Any] | None, pretrained: str | None, revision: str | None = None) -> Any:
    """Return a transformers config, from settings or from a local or cached checkpoint; never runs remote code."""
    package = library()
    if architecture is not None:
        settings = dict(architecture)
        model_type = settings.pop("model_type")
        if model_type not in package.CONFIG_MAPPING:
            raise WiringError(f"transformers {package.__version__} has no model_type {model_type!r}")
        return package.AutoConfig.for_model(model_type, **settings)
    return package.AutoConfig.from_pretrained(pretrained, revision=revision, trust_remote_code=False)
