from collections.abc import Callable
from pathlib import Path

from polyjanus.core.config.reading import Loaded, read_pipeline
from polyjanus.core.config.resolved import resolved, written
from polyjanus.core.registry import Registries


def line_with(text: str, start: str) -> str:
    return next(line.strip() for line in text.split("\n") if line.strip().startswith(start))


def line_in(rich: str, key: str) -> int:
    """Return the line of a key when one line is put before the text."""
    return rich[: rich.index(key)].count("\n") + 2


def test_the_dump_reads_back_as_the_same_pipeline(
    read: Callable[..., Loaded], rich: str, write: Callable[..., Path], registries: Registries
) -> None:
    loaded = read(rich)
    again = read_pipeline(write(resolved(loaded), "again.yaml"), registries)
    assert again.config == loaded.config


def test_every_value_says_where_it_came_from(
    read: Callable[..., Loaded], rich: str, write: Callable[..., Path]
) -> None:
    write("training:\n  seed: 4\n", "base.yaml")
    loaded = read("extends: base.yaml\n" + rich.replace("  seed: 1\n", ""), "text.loss_weight=2")
    text = resolved(loaded)
    assert line_with(text, "loss_weight: 2.0").endswith("# override 'text.loss_weight=2'")
    assert line_with(text, "seed: 4").endswith("base.yaml:2")
    assert line_with(text, "max_pixels: 64").endswith(f"cfg.yaml:{line_in(rich, 'max_pixels')}")
    assert line_with(text, "type: grid").endswith(f"cfg.yaml:{line_in(rich, 'layout: grid')}")
    assert line_with(text, "type: image") == "type: image  # default"


def test_values_of_the_environment_are_hidden(read: Callable[..., Loaded], rich: str) -> None:
    text = rich.replace("title: eyes", "title: x-${env:KEY}").replace("path: ./motion", "path: ${env:KEY}")
    for dump in (resolved(read(text, environ={"KEY": "hunter2"})), written(read(text, environ={"KEY": "s3"}).document)):
        assert "hunter2" not in dump and "s3" not in dump
        assert dump.count('"x-${env:KEY}"') == 1 and dump.count('"${env:KEY}"') == 1


def test_the_written_dump_holds_no_defaults(
    read: Callable[..., Loaded], small: str, write: Callable[..., Path], registries: Registries
) -> None:
    loaded = read(small)
    assert [line.split("  # ")[0] for line in written(loaded.document).splitlines()] == [
        "polyjanus: 1",
        "backbone:",
        "  type: lm",
        "  pretrained: ./model",
    ]


def test_odd_text_survives(
    read: Callable[..., Loaded], rich: str, write: Callable[..., Path], registries: Registries
) -> None:
    for odd in (
        "no: yes",
        "# x",
        "1e-4",
        "017",
        "",
        "a\nb\t\u2028é😀",
        "*.x",
        "- a",
        "~",
        "a  #b",
        "true",
        "x: ",
        "\x7f",
    ):
        quoted = '"' + odd.replace("\n", "\\n").replace("\t", "\\t").replace("\x7f", "\\x7f") + '"'
        loaded = read(rich.replace("title: eyes", f"title: {quoted}"))
        again = read_pipeline(write(resolved(loaded), "again.yaml"), registries)
        assert again.config == loaded.config
