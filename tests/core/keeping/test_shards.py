"""Results on disk are given back as they were, or not at all."""

import hashlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from polyjanus.core.features import Kept
from polyjanus.core.keeping import shards
from polyjanus.core.keeping.shards import Shelf, smallest


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def codes(number: int, length: int = 5) -> Kept:
    return Kept(torch.randint(0, 60_000, (length, 2), generator=torch.Generator().manual_seed(number)))


def same(found: Kept | None, expected: Kept) -> bool:
    return found is not None and found.grid == expected.grid and torch.equal(found.values, expected.values)


def never(text: str) -> None:
    raise AssertionError(text)


def test_codes_of_any_length_come_back_as_integers(tmp_path: Path) -> None:
    given = {digest(n): codes(n, n) for n in range(5)}
    Shelf(tmp_path, never).add(given, torch.uint16)
    shelf = Shelf(tmp_path, never)
    assert all(same(shelf.find(key), kept) for key, kept in given.items()) and shelf.find(digest(9)) is None
    assert shelf.find(digest(1)).values.dtype == torch.int64  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_keep_their_type_and_their_grid(tmp_path: Path, dtype: torch.dtype) -> None:
    given = {digest(0): Kept(torch.randn(6, 3).to(dtype), (2, 3)), digest(1): Kept(torch.randn(2, 3).to(dtype))}
    shelf = Shelf(tmp_path, never)
    shelf.add(given, torch.float32)
    for each in (shelf, Shelf(tmp_path, never)):
        assert all(same(each.find(key), kept) for key, kept in given.items())
    assert Shelf(tmp_path, never).find(digest(0)).values.dtype == dtype  # type: ignore[union-attr]


def test_codes_take_the_smallest_type_that_holds_them() -> None:
    wanted = {2: torch.uint8, 256: torch.uint8, 257: torch.uint16, 16384: torch.uint16, 65537: torch.uint32}
    assert {size: smallest(size) for size in wanted} == wanted


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    """Wherever it is, no other result is given than the one that was kept, and the damage is told of."""
    given = {digest(n): codes(n) for n in range(3)}
    file = Shelf(tmp_path, never).add(given, torch.uint16)
    whole = file.read_bytes()
    silent = 0
    for place in range(0, len(whole), 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        said: list[str] = []
        shelf = Shelf(tmp_path, said.append)
        found = {key: shelf.find(key) for key in given}
        assert all(kept is None or same(kept, given[key]) for key, kept in found.items())
        if all(kept is not None for kept in found.values()):
            silent += 1
        else:
            assert len(said) == 1 and file.name in said[0] and "computed anew" in said[0]
    assert silent < 20  # padding of the header


def test_a_newer_result_counts_where_an_older_one_is_damaged(tmp_path: Path) -> None:
    file = Shelf(tmp_path, never).add({digest(0): codes(0)}, torch.uint16)
    content = bytearray(file.read_bytes())
    content[content.index(codes(0).values.to(torch.uint16).numpy().tobytes())] ^= 1
    file.write_bytes(content)
    shelf = Shelf(tmp_path, (said := list[str]()).append)
    assert shelf.find(digest(0)) is None and (shelf.damaged, len(said)) == (1, 1)
    shelf.add({digest(0): codes(0)}, torch.uint16)
    assert same(shelf.find(digest(0)), codes(0)) and same(Shelf(tmp_path, never).find(digest(0)), codes(0))


def test_writers_and_readers_do_not_meet(tmp_path: Path) -> None:
    def write(first: int) -> None:
        shelf = Shelf(tmp_path, never)
        for number in range(first, first + 10):
            shelf.add({digest(number): codes(number), digest(0): codes(0)}, torch.uint16)

    writers = [threading.Thread(target=write, args=(10 * turn,)) for turn in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        shelf = Shelf(tmp_path, never)
        assert shelf.find(digest(0)) is None or same(shelf.find(digest(0)), codes(0))
    shelf = Shelf(tmp_path, never)
    assert all(same(shelf.find(digest(number)), codes(number)) for number in range(40))
    assert not list(tmp_path.glob(".*"))


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        Path(str(_[1])).write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(shards, "save_file", fail)
    with pytest.raises(OSError, match="full"):
        Shelf(tmp_path, never).add({digest(0): codes(0)}, torch.uint16)
    assert not list(tmp_path.iterdir())


def test_many_results_are_opened_at_once_and_read_lazily(tmp_path: Path) -> None:
    number = 100_000
    keys = np.random.default_rng(0).bytes(32 * number)
    one = Kept(torch.zeros(1, 1, dtype=torch.int64))
    every = [keys[32 * place : 32 * place + 32] for place in range(number)]
    shelf = Shelf(tmp_path, never)
    for start in range(0, number, 50_000):
        shelf.add(dict.fromkeys(every[start : start + 50_000], one), torch.uint8)
    started = time.perf_counter()
    shelf = Shelf(tmp_path, never)
    opened = time.perf_counter() - started
    assert all(same(shelf.find(key), one) for key in every[::1000])
    assert opened < 1 and time.perf_counter() - started < 2
