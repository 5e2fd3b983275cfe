"""The evaluations of the quintet by name."""

from __future__ import annotations

from collections.abc import Mapping

from polyjanus.examples.quintet.metrics import (
    AttributesAsked,
    AttributesRead,
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
    "copied": Copied,
    "varied": Varied,
    "rated": Rated,
}
