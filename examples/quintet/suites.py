"""The evaluations of the quintet by name."""

from __future__ import annotations

from collections.abc import Mapping

from polyjanus.examples.quintet.metrics import (
    AttributesAsked,
    AttributesRead,
    Checked,
    Compared,
    Copied,
    Directions,
    QuintetSuite,
)
from polyjanus.examples.quintet.rated import Rated
from polyjanus.examples.quintet.variety import Varied

SUITES: Mapping[str, type[QuintetSuite]] = {
    "directions": Directions,
    "asked": AttributesAsked,
    "named": AttributesRead,
    "compared": Compared,
    "checked": Checked,
    "copied": Copied,
    "varied": Varied,
    "rated": Rated,
}
