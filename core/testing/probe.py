"""Load one plugin in a process of its own, and print as JSON what that imported, asked for and took.

python -m polyjanus.core.testing.probe FILE.py|ENTRY-POINT|MODULE
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from polyjanus.core.config.schema import PipelineConfig
from polyjanus.core.manager import Plugins, load_target
from polyjanus.core.settings import BuildContext

BASE = PipelineConfig
"""What every run of polyjanus imports, so that its time is not the plugin's."""
HEAVY = ("torch", "transformers")
ASKING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")


def main() -> None:
    """Probe the plugin named on the command line."""
    asked: list[str] = []

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ASKING:
            asked.append(f"{event}{arguments[-1:] if event == 'socket.connect' else arguments[:1]}")

    sys.addaudithook(listen)
    plugins = Plugins()
    start = time.perf_counter()
    load_target(plugins, sys.argv[1])
    found: dict[str, Any] = {
        "seconds": time.perf_counter() - start,
        "broken": "; ".join(plugins.broken.values()),
        "offers": sum(len(registry.names()) for registry in plugins.registries),
        "heavy": _heavy(),
    }
    _use_media(plugins)
    found |= {"media": [name for name in _heavy() if name not in found["heavy"]], "network": asked}
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def _heavy() -> list[str]:
    return [name for name in HEAVY if name in sys.modules]


def _use_media(plugins: Plugins) -> None:
    """Make, show, save and load an example of each modality; what fails is for other checks to say."""
    for entry in plugins.registries.modalities:
        block = {"type": entry.settings.type_name(), **entry.settings.example_settings}
        with suppress(Exception), tempfile.TemporaryDirectory() as folder:
            settings = entry.settings.model_validate(block, context={"registries": plugins.registries})
            modality: Any = settings.build(BuildContext(path="x"))
            modality.preview(modality.example())
            file = Path(folder) / f"example{modality.suffixes[0]}"
            modality.save(modality.example(), file)
            modality.load(file)


if __name__ == "__main__":
    main()
