"""A run as one page: every loss of every stage, samples over time, nothing from outside."""

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from polyjanus.core.cli.main import main
from polyjanus.core.errors import UsageError
from polyjanus.core.reporting import MOST_POINTS, chart, report, thinned

SAMPLES = "training.samples=[{prompt: draw one, output: [image]}, {prompt: <b>say</b>, max_tokens: 3}]"


class Page(HTMLParser):
    """What stands in a page, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def ran(runs: Any) -> Any:
    runs.training("x", SAMPLES).run()
    return runs.home / "x"


def test_a_report_shows_every_loss_and_every_sample_and_loads_nothing(ran: Any) -> None:
    page = Page(report(ran))
    for words in (
        "codec",
        "all",
        "text.loss",
        "image.generate.loss",
        "captions.loss",
        "lr",
        "grad_norm",
        "draw one",
        "padding",
    ):
        assert words in page.words
    assert "<b>say</b>" in page.words and "b" not in page.tags
    assert page.tags.count("svg") == 5
    pictures = [source for source in page.sources if source.startswith("data:image/png;base64,")]
    assert pictures and pictures == page.sources
    totals = {json.loads(line)["total"] for line in (ran / "samples" / "samples.jsonl").read_text().splitlines()}
    assert totals == {4, 6, 8}


def test_samples_change_no_loss(runs: Any) -> None:
    runs.training("with", SAMPLES).run()
    runs.training("without").run()
    assert runs.log("with") == runs.log("without")


def test_the_command_prints_where_the_page_is(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(ran)]) == 0
    assert capsys.readouterr().out.strip() == str(ran / "report.html")
    assert (ran / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="no run"):
        report(tmp_path)


def test_a_log_that_was_cut_off_is_read_up_to_there(ran: Any) -> None:
    with (ran / "log.jsonl").open("a") as log:
        log.write('{"stage": "all", "st')
    assert "text.loss" in report(ran)


def test_long_runs_are_thinned_to_means() -> None:
    points = [(float(step), float(step % 2)) for step in range(10_000)]
    short = thinned(points)
    assert len(short) <= MOST_POINTS and all(abs(value - 0.5) < 0.1 for _, value in short)
    assert "polyline" in chart({"loss": points}) and "nothing was logged" in chart({})
