"""Every error has a code that is explained, and every message names its own."""

import pytest

from polyjanus.core.cli.main import main
from polyjanus.core.explaining import CAUSES, codes, explain


def test_every_code_is_explained_and_nothing_else_is() -> None:
    assert set(codes()) == set(CAUSES)
    assert len({part.code for part in codes().values()}) == len(codes())


@pytest.mark.parametrize("code", sorted(CAUSES))
def test_an_explanation_has_the_meaning_and_causes(code: str) -> None:
    text = explain(code)
    assert text.startswith((codes()[code].__doc__ or "").splitlines()[0]) and "\n- " in text


def test_a_message_names_its_code_and_the_command_explains_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere", "hello"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.strip() == "(polyjanus explain usage)"
    assert main(["explain", "usage"]) == 0 and "nearest name" in capsys.readouterr().out
    assert main(["explain"]) == 0 and "media" in capsys.readouterr().out
    assert main(["explain", "medai"]) == 2 and "did you mean 'media'" in capsys.readouterr().err
