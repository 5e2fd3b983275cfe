"""The decoder process: what it sends is what was loaded, and what kills it costs one item."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from polyjanus.core.decoding.decoder import Decoder, close_workers
from polyjanus.core.decoding.wire import receive, send
from polyjanus.core.errors import MediaError
from polyjanus.core.manager import load_plugins
from polyjanus.core.settings import BuildContext

BOMB = '''
import os, signal, sys, time
from dataclasses import dataclass
from typing import Any, Literal
import numpy as np
from polyjanus import hookimpl
from polyjanus.core.modality import Modality
from polyjanus.core.settings import ModalityConfig

@dataclass(frozen=True, eq=False)
class Bomb:
    values: Any
    name: str
    numbers: tuple
    gap: Any = None

class Bombs(Modality):
    medium = Bomb
    def load(self, source, start=None, duration=None):
        word = source if isinstance(source, str) else bytes(source).decode()
        print("noise on stdout"); os.write(1, b"and below")
        if word == "crash": os.kill(os.getpid(), signal.SIGSEGV)
        if word == "hang": time.sleep(600)
        if word == "nap": time.sleep(2)
        if word == "swell": np.ones(1 << 40, np.uint8)
        if word == "raise": raise ZeroDivisionError("by zero")
        if word == "torch": return Bomb(np.array(float("torch" in sys.modules)), word, ())
        if word == "pid": return Bomb(np.array(os.getpid()), os.getcwd(), ())
        return Bomb(np.arange(6, dtype=np.float32).reshape(2, 3).T, word, (start, duration, ("a", 1.5)))
    def save(self, media, path): ...
    def preview(self, media): return b""

class BombConfig(ModalityConfig):
    """Goes off."""
    type: Literal["bomb"]
    def build(self, context): return Bombs(context.path, self)

@hookimpl
def register(registries):
    registries.modalities.add(BombConfig)
'''


@pytest.fixture
def bombs(tmp_path: Path) -> Iterator[Decoder]:
    file = tmp_path / "bomb.py"
    file.write_text(BOMB, encoding="utf-8")
    plugins = load_plugins([file], third_party=False)
    settings = plugins.registries.of("modality").get("bomb").model_validate({"type": "bomb"})
    yield Decoder({"bomb": settings.build(BuildContext(path="bomb"))}, plugins.files)
    close_workers()


@pytest.fixture
def pictures(plugins: Any) -> Iterator[Decoder]:
    settings = plugins.registries.of("modality").get("image").model_validate({"type": "image", "max_pixels": 5000})
    yield Decoder({"image": settings.build(BuildContext(path="image"))})
    close_workers()


def test_what_is_sent_is_what_is_received() -> None:
    message = {
        "nothing": None,
        "numbers": [1, 2.5, float("inf"), True],
        "pair": (1, ("x", "\ud800")),
        "bytes": b"\x00\xff",
        "arrays": {"f": np.arange(6.0).reshape(2, 3).T, "empty": np.zeros((0, 3), np.int16), "one": np.array(7)},
        "scalar": np.float32(0.5),
    }
    stream = io.BytesIO()
    send(stream, message)
    stream.seek(0)
    back = receive(stream)
    assert back["nothing"] is None and back["numbers"] == message["numbers"] and back["pair"] == message["pair"]
    assert back["bytes"] == b"\x00\xff" and back["scalar"] == 0.5
    for name, array in message["arrays"].items():
        assert back["arrays"][name].dtype == array.dtype
        np.testing.assert_array_equal(back["arrays"][name], array)
        back["arrays"][name][...] = 1  # it may be written to, as any array may
    with pytest.raises(EOFError):
        receive(stream)
    with pytest.raises(TypeError, match="object"):
        send(stream, {"x": np.array([{}])})


def test_a_medium_that_was_loaded_apart_is_the_one_loaded_here(pictures: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(path)
    here = pictures.modalities["image"].load(path)
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(np.asarray(pictures.load("image", source)), np.asarray(here))


def test_a_medium_keeps_its_fields(bombs: Decoder) -> None:
    medium = bombs.load("bomb", "x", 1.0, 2.5)
    assert (medium.name, medium.numbers, medium.gap) == ("x", (1.0, 2.5, ("a", 1.5)), None)
    np.testing.assert_array_equal(medium.values, np.arange(6).reshape(2, 3).T)


def test_errors_are_those_of_the_modality(pictures: Decoder, tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        pictures.load("image", tmp_path / "none.png")
    assert caught.value.where == str(tmp_path / "none.png") and "does not exist" in caught.value.message
    Image.new("RGB", (100, 100)).save(tmp_path / "big.png")
    with pytest.raises(MediaError, match="10000|100 x 100"):
        pictures.load("image", tmp_path / "big.png")


@pytest.mark.parametrize("word", ["crash", "hang", "swell", "raise"])
def test_an_item_that_kills_the_decoder_costs_itself_alone(bombs: Decoder, word: str) -> None:
    before = bombs.load("bomb", "pid").values
    bombs.seconds = 1.0
    started = time.monotonic()
    with pytest.raises(MediaError) as caught:
        bombs.load("bomb", word)
    assert time.monotonic() - started < 10
    assert caught.value.where == word
    bombs.seconds = 60.0
    after = bombs.load("bomb", "pid").values
    assert (before != after) == (word in ("crash", "hang"))


def test_the_decoder_process_never_imports_torch(bombs: Decoder) -> None:
    assert bombs.load("bomb", "torch").values == 0


def test_paths_start_where_the_asking_process_stands(
    bombs: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, tmp_path.parent):
        monkeypatch.chdir(folder)
        assert Path(bombs.load("bomb", "pid").name) == folder.resolve()


def test_objects_in_memory_are_loaded_here(pictures: Decoder, picture: Any) -> None:
    loaded = pictures.load("image", picture)
    assert np.array_equal(np.asarray(loaded), np.asarray(picture))


def test_a_type_that_only_this_process_knows_is_loaded_here(bombs: Decoder) -> None:
    here = Decoder(bombs.modalities)
    assert here.load("bomb", "pid").values == os.getpid()


def test_pipelines_load_files_apart(tiny: Any, tmp_path: Path, picture: Any) -> None:
    path = tmp_path / "a.png"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(MediaError) as caught:
        tiny.run([{"type": "image", "path": str(path)}, "What?"], max_tokens=1)
    assert caught.value.where == str(path)
    assert tiny.compiler.decoder is not None


def test_a_process_that_ends_leaves_no_decoder_behind(tmp_path: Path, picture: Any) -> None:
    picture.save(tmp_path / "a.png")
    code = (
        "from polyjanus.core.decoding import decoder as d\n"
        "from polyjanus.core.manager import load_plugins\n"
        "from polyjanus.core.settings import BuildContext\n"
        "s = load_plugins().registries.of('modality').get('image').model_validate({'type': 'image'})\n"
        "x = d.Decoder({'image': s.build(BuildContext(path='image'))})\n"
        "x.load('image', 'a.png')\n"
        "print(next(iter(d._workers.values())).process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    time.sleep(0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_a_worker_that_makes_room_for_another_ends_its_answer_first(bombs: Decoder, tmp_path: Path) -> None:
    decoders = [Decoder(bombs.modalities, [tmp_path / "bomb.py"]) for _ in range(3)]
    for number, decoder in enumerate(decoders):
        decoder._key += f" {number}"  # as pipelines of other modalities have
    decoders[0].load("bomb", "awake")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(decoders[0].load, "bomb", "nap")
        time.sleep(0.3)
        assert [decoder.load("bomb", "x").name for decoder in decoders[1:]] == ["x", "x"]
        assert answer.result().name == "nap"
    assert decoders[0].load("bomb", "again").name == "again"
