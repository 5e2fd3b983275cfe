"""The other process: it loads media on request, and never imports torch for that."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from polyjanus.core.decoding.wire import receive, send
from polyjanus.core.errors import PolyjanusError
from polyjanus.core.manager import load_plugins
from polyjanus.core.modality import Modality
from polyjanus.core.settings import BuildContext


def main() -> None:
    """Serve requests until the other side closes."""
    incoming = sys.stdin.buffer
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between messages
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        serve(incoming, outgoing)


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer the first message with the modalities known here, and every other with a medium or an error."""
    setup = receive(incoming)
    _limit_memory(setup["memory"])
    modalities = _build(setup)
    send(outgoing, {"known": sorted(modalities)})
    while True:
        request = receive(incoming)
        send(outgoing, answer(modalities, request))


def answer(modalities: dict[str, Modality[Any, Any]], request: dict[str, Any]) -> dict[str, Any]:
    """Return the packed medium of a request, or what is wrong with it."""
    modality, source = modalities[request["modality"]], request["source"]
    try:
        os.chdir(request["folder"])
        media = modality.load(source, request["start"], request["duration"])
        return {"media": dict(modality.pack(media))}
    except PolyjanusError as error:
        return {"error": {"message": error.message, "where": error.where, "hint": error.hint}}
    except MemoryError:
        hint = "is it what it claims to be? else raise the limits of its modality"
        return {"error": {"message": "decoding it takes too much memory", "where": _where(source), "hint": hint}}
    except Exception as error:
        message = f"it could not be decoded: {type(error).__name__}: {error}"
        return {"error": {"message": message[:500], "where": _where(source), "hint": None}}


def _where(source: Any) -> str | None:
    return source if isinstance(source, str) else None


def _build(setup: dict[str, Any]) -> dict[str, Modality[Any, Any]]:
    """Return the modalities whose type a plugin of this process offers."""
    registries = load_plugins([Path(file) for file in setup["plugins"]]).registries
    built: dict[str, Modality[Any, Any]] = {}
    for name, block in setup["modalities"].items():
        with suppress(Exception):  # a type that only the other process knows is loaded there
            settings = registries.of("modality").get(block["type"])
            built[name] = settings.model_validate(block, context={"registries": registries}).build(
                BuildContext(path=name)
            )
    return built


def _limit_memory(limit: int) -> None:
    """Keep the address space of this process below a limit, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
