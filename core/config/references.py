"""Names that point from one part of a pipeline to another: data sets, components, modalities."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from polyjanus.core.config.document import Document, Place
from polyjanus.core.config.schema import RESERVED_NAMES, selects
from polyjanus.core.config.wording import fault_at
from polyjanus.core.errors import Fault, nearest, suggest

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TASK = re.compile(r"([A-Za-z0-9_-]+)\.(understand|generate)")


def reference_faults(document: Document) -> list[Fault]:
    """Return every name in the raw data that points nowhere, or at what it may not point at."""
    return [
        *_modality_names(document),
        *_shared_parts(document),
        *_tasks(document),
        *_mixes(document),
        *_trained_parts(document),
        *_started_parts(document),
        *_best(document),
        *_passes(document),
    ]


def component_places(document: Document) -> dict[str, Place]:
    """Return the component paths that the raw data describes, and where each is written."""
    places: dict[str, Place] = {
        "backbone": ("backbone",),
        "text.embedding": ("text",),
        "text.head": ("text",),
    }
    is_generating = False
    for name, modality in _items(document.data.get("modalities")):
        for pathway, parts in (
            ("understand", ("encoder", "adaptor")),
            ("generate", ("codec", "embedding", "adaptor", "head")),
        ):
            if isinstance(modality, Mapping) and cast("Mapping[str, Any]", modality).get(pathway) is not None:
                is_generating = is_generating or pathway == "generate"
                places |= {f"{name}.{pathway}.{part}": ("modalities", name, pathway, part) for part in parts}
    return places | ({"marks": ("modalities",)} if is_generating else {})


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return cast("Mapping[str, Any]", value).items() if isinstance(value, Mapping) else ()


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _near(document: Document, name: str, known: Mapping[str, Place]) -> str:
    """Return `; did you mean 'x' (line 4)?` for a name that the user gave, or the list of such names."""
    match = nearest(name, known)
    origin = document.origin(known[match]) if match else None
    if match is None or origin is None or origin.line is None:
        return suggest(name, known, noun="defined")
    place = f"line {origin.line}" if origin.file == document.file else str(origin)
    return f"; did you mean {match!r} ({place})?"


def _modality_names(document: Document) -> Iterator[Fault]:
    for name, _ in _items(document.data.get("modalities")):
        if name in RESERVED_NAMES:
            yield fault_at(document, ("modalities", name), f"{name!r} is taken by polyjanus; choose another name")
        elif not _NAME.fullmatch(name):
            message = "a modality's name is small letters, digits and '_', and starts with a letter"
            yield fault_at(document, ("modalities", name), message)


def _walk(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    yield place, value
    for key, inner in _items(value):
        yield from _walk(inner, (*place, key))
    for index, inner in enumerate(_listed(value)):
        yield from _walk(inner, (*place, index))


def _shared_parts(document: Document) -> Iterator[Fault]:
    """Follow every `of:` to the component whose part it shares."""
    places = component_places(document)
    targets: dict[str, str] = {}
    for place, value in _walk(document.data.get("modalities"), ("modalities",)):
        if place[-1] != "of" or not isinstance(value, str):
            continue
        owner = ".".join(map(str, place[1:-1]))
        if value not in places:
            yield fault_at(document, place, f"no component {value!r}{_near(document, value, places)}")
            continue
        targets[owner] = value
        chain = [owner]
        while chain[-1] in targets and chain[-1] not in chain[:-1]:
            chain.append(targets[chain[-1]])
        if chain[-1] == owner and len(chain) > 1:
            message = (
                "is the component itself" if len(chain) == 2 else f"components share in a circle: {' → '.join(chain)}"
            )
            yield fault_at(document, place, message)


def _tasks(document: Document) -> Iterator[Fault]:
    """Check `task: name.pathway` of each data set."""
    modalities = dict(_items(document.data.get("modalities")))
    known: dict[str, Place] = {name: ("modalities", name) for name in modalities}
    for name, source in _items(document.data.get("data")):
        task = dict(_items(source)).get("task")
        match = _TASK.fullmatch(task) if isinstance(task, str) else None
        if match is None:
            continue
        place: Place = ("data", name, "task")
        modality, pathway = match.groups()
        if modality not in known:
            if modality != "text":
                yield fault_at(document, place, f"no modality {modality!r}{_near(document, modality, known)}")
        elif dict(_items(modalities[modality])).get(pathway) is None:
            message = f"{modality!r} has no '{pathway}' block ({document.origin(known[modality])})"
            yield fault_at(document, place, message)


def _stages(document: Document) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    stages = _listed(document.value(("training", "stages")))
    for index, stage in enumerate(stages):
        if isinstance(stage, Mapping):
            yield ("training", "stages", index), cast("Mapping[str, Any]", stage)


def _mixes(document: Document) -> Iterator[Fault]:
    """Check that mixes name data sets, and that every data set is in a mix."""
    sets: dict[str, Place] = {name: ("data", name) for name, _ in _items(document.data.get("data"))}
    mixed: dict[str, Place] = {}
    for place, stage in _stages(document):
        for name, _ in _items(stage.get("mix")):
            mixed.setdefault(name, (*place, "mix", name))
            if name not in sets:
                message = f"no data set {name!r}{_near(document, name, sets)}"
                yield fault_at(document, (*place, "mix", name), message)
    if not isinstance(document.data.get("training"), Mapping):
        return
    evaluated = {value for _, value in _walk(document.data.get("evaluation"), ()) if isinstance(value, str)}
    strays = {name: place for name, place in mixed.items() if name not in sets}
    for name, place in sets.items():
        if name not in mixed and name not in evaluated:
            hint = _near(document, name, strays) if nearest(name, strays) else "; name it in one or remove it"
            yield fault_at(document, place, f"no stage's mix uses this data set{hint}")


def _trained_parts(document: Document) -> Iterator[Fault]:
    """Check that every glob of `train` selects components, and that codecs are reconstructed apart."""
    places = component_places(document)
    lora: Any = document.value(("training", "lora"))
    globs = [str(glob) for glob in cast("dict[Any, Any]", lora)] if isinstance(lora, dict) else []
    for glob in globs:
        if not any(selects(glob, path) for path in places):
            yield _selects_nothing(document, glob, places, ("training", "lora", glob))
    for place, stage in _stages(document):
        for index, glob in enumerate(_listed(stage.get("train"))):
            if not isinstance(glob, str):
                continue
            chosen = [path for path in places if selects(glob, path)]
            if not chosen:
                yield _selects_nothing(document, glob, places, (*place, "train", index))
            others = [path for path in chosen if not path.endswith(".generate.codec")]
            if stage.get("objective") == "reconstruct" and others:
                message = f"{glob!r} selects {others[0]!r}; a 'reconstruct' stage trains only codecs"
                yield fault_at(document, (*place, "train", index), message)


def _started_parts(document: Document) -> Iterator[Fault]:
    """Check that every part in `init_from` is a component, holds some, or lies in one."""
    places = component_places(document)
    for name, _ in _items(document.value(("training", "init_from"))):
        if not any(path == name or path.startswith(f"{name}.") or name.startswith(f"{path}.") for path in places):
            near = {path: place for path, place in _globs(places).items() if "*" not in path}
            message = f"no part {name!r}{_near(document, name, near if nearest(name, near) else places)}"
            yield fault_at(document, ("training", "init_from", name), message)


def _selects_nothing(document: Document, glob: str, places: Mapping[str, Place], at: Place) -> Fault:
    near = _globs(places) if nearest(glob, _globs(places)) else places
    return fault_at(document, at, f"{glob!r} selects no component{_near(document, glob, near)}")


def _globs(places: Mapping[str, Place]) -> dict[str, Place]:
    """Return the globs that could have been meant: paths, subtrees and `*.part`, each with a place."""
    globs: dict[str, Place] = {}
    for path, place in places.items():
        parts = path.split(".")
        for length in range(1, len(parts)):
            inner = place[: len(place) - len(parts) + length] if place[0] == "modalities" else place
            globs.setdefault(".".join(parts[:length]), inner)
            globs.setdefault(f"*.{'.'.join(parts[length:])}", place)
    return globs | dict(places)


def _best(document: Document) -> Iterator[Fault]:
    place: Place = ("training", "validation", "best")
    best = document.value(place)
    if not isinstance(best, str):
        return
    sets: dict[str, Place] = {name: ("data", name) for name, _ in _items(document.data.get("data"))}
    name, _, score = best.rpartition(".")
    if score != "loss":
        yield fault_at(document, place, f"expected `data set.loss`, found {best!r}")
    elif name not in sets:
        yield fault_at(document, place, f"no data set {name!r}{_near(document, name, sets)}")


def _passes(document: Document) -> Iterator[Fault]:
    """Check that a step has a row for each of its passes."""
    for place, stage in _stages(document):
        batch, passes = stage.get("batch"), stage.get("accumulate")
        if isinstance(batch, int) and isinstance(passes, int) and 0 < batch < passes:
            message = f"a step of {batch} rows cannot be done in {passes} passes; `batch` counts the rows of all passes"
            yield fault_at(document, (*place, "accumulate"), message)
