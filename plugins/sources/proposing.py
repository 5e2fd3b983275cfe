"""What a folder holds, found out from a few of its files: which source reads it, and small modalities to begin with."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from polyjanus.core.data.proposals import Block, Proposal
from polyjanus.core.errors import DataError
from polyjanus.plugins.sources import MESSAGES, SUFFIXES
from polyjanus.plugins.sources.conversations import ROLES
from polyjanus.plugins.sources.folders import CAPTIONS, media_files
from polyjanus.plugins.sources.records import Records

LOOKED_AT = 50
"""Records of a file that are looked at."""
NOUNS = {"image": "pictures", "audio": "sounds", "point_cloud": "point clouds", "eeg": "recordings"}
FILE_COLUMNS = ("file_name", "image", "path", "file")
TEXT_COLUMNS = ("text", "caption", "captions", "txt", "description", "sentence", "transcript")
WORDS = ("txt", "caption", "text")


def propose_for(folder: Path) -> list[Proposal]:
    """Return every way in which a folder can be read, the most telling first."""
    if (folder / "dataset_description.json").is_file():
        return list(_bids(folder))
    found = [*_conversations(folder), *_parquet(folder), *_shards(folder)]
    if not found:
        found = [*_captions(folder)] or [*_classes(folder)]
    return found


@cache
def _starters() -> dict[str, dict[str, Block]]:
    return YAML(typ="safe").load(Path(__file__).with_name("starters.yaml"))


def _modalities(*names: str, pathways: tuple[str, ...] = ("understand", "generate")) -> dict[str, Block]:
    """Return the small modalities of these names, with the pathways that are wanted and there."""
    return {
        name: {pathway: block for pathway, block in _starters()[name].items() if pathway in pathways} for name in names
    }


def _both_ways(kind: str, modality: str, found: str, rows: int, **block: Any) -> Proposal:
    """Return a proposal in which media are described and, where the modality can be, made."""
    modalities = _modalities(modality)
    names = {"understand": f"describe_{modality}", "generate": f"make_{modality}"}
    data = {names[way]: {"type": kind, **block, "task": f"{modality}.{way}"} for way in modalities[modality]}
    return Proposal(found, rows, data, modalities)


def _bids(folder: Path) -> Iterator[Proposal]:
    data = {"events": {"type": "bids", "path": str(folder), "task": "understand"}}
    subjects = sum(path.is_dir() for path in folder.glob("sub-*"))
    yield Proposal(f"a BIDS folder of {subjects} subjects", max(subjects, 1), data, _modalities("eeg"))


def _captions(folder: Path) -> Iterator[Proposal]:
    listed = next((folder / name for name in CAPTIONS if (folder / name).is_file()), None)
    if listed is not None:
        yield from _listed_captions(folder, listed)
        return
    for modality, endings in SUFFIXES.items():
        files = list(media_files(folder, endings))
        captioned = sum(path.with_suffix(".txt").is_file() for path in files)
        if captioned and 2 * captioned >= len(files):
            words = f"{captioned} {NOUNS[modality]} with captions beside them"
            yield _both_ways("caption_folder", modality, words, captioned, path=str(folder))


def _listed_captions(folder: Path, file: Path) -> Iterator[Proposal]:
    """Propose a folder whose captions are in one file, by the names of its columns and of the first medium."""
    import csv

    rows = 0
    first: dict[str, Any] = {}
    if file.suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as opened:
            for row in csv.DictReader(opened):
                first, rows = first or dict(row), rows + 1
    else:
        with suppress(DataError):
            records = Records(file)
            first, rows = records.record(0), len(records)
    named = next((name for name in FILE_COLUMNS if isinstance(first.get(name), str)), None)
    words = next((name for name in TEXT_COLUMNS if first.get(name)), None)
    modality = None if named is None else _modality_of(first[named])
    if named and words and modality:
        columns = {"file_column": named} if named != "file_name" else {}
        columns |= {"text_column": words} if words != "text" else {}
        found = f"{rows} {NOUNS[modality]} with captions in {file.name}"
        yield _both_ways("caption_folder", modality, found, rows, path=str(folder), **columns)


def _modality_of(name: str) -> str | None:
    """Return the modality of which a file is a medium by its suffix."""
    return next((modality for modality, endings in SUFFIXES.items() if Path(name).suffix.lower() in endings), None)


def _classes(folder: Path) -> Iterator[Proposal]:
    homes = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for modality, endings in SUFFIXES.items():
        counts = {home.name: sum(1 for _ in media_files(home, endings)) for home in homes}
        classes = [name for name, count in counts.items() if count]
        if len(classes) > 1:
            total = sum(counts.values())
            found = f"{total} {NOUNS[modality]} in {len(classes)} classes"
            yield _both_ways("class_folder", modality, found, total, path=str(folder))


def _conversations(folder: Path) -> Iterator[Proposal]:
    """Propose files of records with turns: LLaVA's, ShareGPT's, or messages of typed parts."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".jsonl") and path.is_file()]
    for file in files:
        with suppress(DataError):
            records = Records(file)
            seen = [records.record(index) for index in range(min(len(records), LOOKED_AT))]
            proposal = _of_records(file, seen, len(records)) if seen else None
            if proposal is not None:
                yield proposal


def _of_records(file: Path, seen: list[dict[str, Any]], rows: int) -> Proposal | None:
    field = next((name for name in ("conversations", MESSAGES) if isinstance(seen[0].get(name), list)), None)
    if field is None:
        return None
    turns = [turn for record in seen for turn in record.get(field) or () if isinstance(turn, dict)]
    parts = [part for turn in turns if isinstance(turn.get("content"), list) for part in turn["content"]]
    if parts:
        return _of_parts(file, turns, rows)
    texts = {"user": "", "assistant": ""}
    for turn in turns:
        role = ROLES.get(str(turn.get("from", turn.get("role"))).lower())
        texts[role or ""] = texts.get(role or "", "") + str(turn.get("value", turn.get("content")))
    tags = [name for name in _starters() if f"<{name}>" in "".join(texts.values())]
    kind = "llava" if field == "conversations" else "sharegpt"
    block: Block = {"type": kind, "path": str(file)}
    if tags not in ([], ["image"]):
        block["tags"] = {name: name for name in tags}
    modalities: dict[str, Block] = {}
    for name in tags:
        ways = [("understand", texts["user"]), ("generate", texts["assistant"])]
        modalities |= _modalities(name, pathways=tuple(way for way, text in ways if f"<{name}>" in text))
    return Proposal(f"{rows} conversations in {file.name}", rows, {file.stem: block}, modalities)


def _of_parts(file: Path, turns: list[dict[str, Any]], rows: int) -> Proposal | None:
    ways: dict[str, set[str]] = {}
    for turn in turns:
        for part in turn["content"] if isinstance(turn.get("content"), list) else ():
            name = part.get("type") if isinstance(part, dict) else None
            if name in _starters():
                ways.setdefault(name, set()).add("generate" if turn.get("role") == "assistant" else "understand")
    modalities: dict[str, Block] = {}
    for name, wanted in ways.items():
        modalities |= _modalities(name, pathways=tuple(wanted))
    if file.suffix != ".jsonl":
        return None
    block = {"type": "jsonl", "path": str(file)}
    return Proposal(f"{rows} conversations of typed parts in {file.name}", rows, {file.stem: block}, modalities)


def _parquet(folder: Path) -> Iterator[Proposal]:
    files = sorted(folder.rglob("*.parquet"))
    with suppress(ImportError, OSError, ValueError):
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not files:
            return
        schema = pq.read_schema(files[0])
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        pattern = str(folder / ("*.parquet" if files[0].parent == folder else "**/*.parquet"))
        found = f"{rows} rows in {len(files)} Parquet file{'s' if len(files) > 1 else ''}"
        words = next((name for name in TEXT_COLUMNS if name in schema.names), None)
        media = [
            field.name
            for field in schema
            if pa.types.is_binary(field.type) or (pa.types.is_struct(field.type) and "bytes" in str(field.type))
        ]
        if MESSAGES in schema.names:
            yield Proposal(found, rows, {"rows": {"type": "parquet", "path": pattern}}, _modalities("image"))
        elif words and media:
            modality = next((name for name in SUFFIXES if name in media[0]), "image")
            yield _both_ways(
                "parquet", modality, found, rows, path=pattern, columns={media[0]: modality, words: "text"}
            )


def _shards(folder: Path) -> Iterator[Proposal]:
    files = sorted(folder.rglob("*.tar"))
    with suppress(tarfile.TarError, OSError):
        if not files:
            return
        with tarfile.open(files[0], "r:") as tar:
            names = [member.name.rpartition("/")[2] for member in islice(tar, LOOKED_AT) if member.isreg()]
        suffixes = list(dict.fromkeys(name.partition(".")[2].lower() for name in names))
        samples = len({name.partition(".")[0] for name in names})
        media = next((suffix for suffix in suffixes if _modality_of(f"x.{suffix}")), None)
        words = next((suffix for suffix in WORDS if suffix in suffixes), None)
        if media is None or words is None:
            return
        pattern = str(folder / ("*.tar" if files[0].parent == folder else "**/*.tar"))
        modality = _modality_of(f"x.{media}") or "image"
        usual = words == "txt"
        columns = {} if usual else {"columns": {media: modality, words: "text"}}
        found = f"{len(files)} tar shards of {NOUNS[modality]} with words"
        yield _both_ways("webdataset", modality, found, samples * len(files), path=pattern, **columns)
