"""What an unquoted word of YAML 1.2 means: a number, a truth value, nothing, or text."""

import re
from math import isinf

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_ZEROS = re.compile(r"[-+]?0+[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_GROUPED = re.compile(r"[-+]?[0-9]+(?:_+[0-9]+)+_*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+\.[0-9]+(?:_[0-9]+)+")
LONGEST_NUMBER = 100
"""Digits of a number, at most; more is a mistake or an attack."""


class ScalarError(ValueError):
    """A word that looks like a number but that editors and parsers read in different ways."""


def read_scalar(text: str) -> Scalar:
    """Return what an unquoted `text` means in YAML 1.2; dates stay text, doubtful numbers raise ScalarError."""
    if text in _WORDS:
        return _WORDS[text]
    if not text[0].isdigit() and text[0] not in "+-.":
        return text
    if len(text) > LONGEST_NUMBER and _DECIMAL.fullmatch(text):
        raise ScalarError(f"a number of {len(text)} digits; quote it if text was meant")
    if _WHOLE.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _ENDLESS.fullmatch(text) or (_DECIMAL.fullmatch(text) and isinf(float(text))):
        raise ScalarError(f"{text} is no finite number; quote it if text was meant")
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _ZEROS.fullmatch(text):
        plain = re.sub(r"^([-+]?)0+(?=[0-9])", r"\1", text)
        raise ScalarError(f"{text} starts with a zero, which parsers read differently; write {plain}, or quote it")
    if _GROUPED.fullmatch(text):
        plain = text.replace("_", "")
        raise ScalarError(f"{text} has '_' in a number; write {plain}, or quote it if text was meant")
    return text
