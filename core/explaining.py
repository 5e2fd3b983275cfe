"""What the codes of errors mean: usual causes and remedies, for `polyjanus explain` and the documentation."""

from __future__ import annotations

import inspect

from polyjanus.core import errors
from polyjanus.core.errors import PolyjanusError, UsageError, suggest

CAUSES = {
    "usage": """
- A pipeline, output, modality or option that is not there: the message offers the nearest name. `polyjanus plugins
  list` and `polyjanus inspect FILE` show what there is.
- A hub id without a network: fetch it once with `hf download ID`, or name a folder.
- A device that torch does not find: `polyjanus doctor` says what it finds.
""",
    "config": """
- Every fault is listed at once as `file:line: path: what is wrong`. Unknown keys are never dropped.
- `1e-4` is a number, `no` is text, and `_` in numbers is refused, as YAML 1.2 has it.
- `polyjanus schema -o .polyjanus.schema.json` lets an editor complete and check the file; `polyjanus config FILE
  --resolved` says where each value comes from.
""",
    "registry": """
- A `type` that nobody offers: a misspelling, or a plugin that is not installed or not named (`--plugin my.py`).
- Two plugins claim one name: both are named, and neither is used until one of them is removed.
""",
    "plugin": """
- A plugin that could not be imported: its distribution and the reason are named; `--debug` shows the traceback.
- A component broke its contract: what was promised, what came, and the method are named. `polyjanus plugins check NAME`
  tries all of it.
""",
    "media": """
- A file that is not what its suffix says, is cut off, or is over a limit (`max_…` in the modality's block).
- A unit that is not the declared one: values a million times the `scale` are refused.
- In training such a row is set aside and listed in the run's `bad_rows.jsonl`; `polyjanus data check FILE` finds all
  of them before.
""",
    "sequence": """
- A part of a message that the pipeline does not understand, or cannot write, or with a key that the modality has not.
- A row in which nothing is learned, or that is longer than `max_tokens` once whole items were dropped.
- `polyjanus data show FILE --row N` shows what stands at which position.
""",
    "wiring": """
- Two parts that do not fit: widths, counts, a component for another kind of modality. Their lines are named.
- A library that a component needs is not installed: the message has the line for pip.
- `polyjanus validate FILE --wiring` finds it without weights and without a network.
""",
    "checkpoint": """
- A file that is missing, cut off or changed: every file is compared with its checksum. `--resume` goes back to the
  newest sound checkpoint and says what it passed over.
- A tensor of another shape: the checkpoint is of another architecture. `training.init_from` takes what fits and tells
  the rest.
""",
    "data": """
- A data set that is empty, cannot be read, or has more bad rows than `training.bad_rows` allows; each is listed with
  its file, line and reason.
- `polyjanus data check FILE` reads everything once.
""",
    "evaluation": """
- A file that an evaluation names is not there: relative paths start at the folder of the YAML.
- The metric's own code failed: the message says how, `polyjanus --debug eval RUN --only NAME` shows where.
- Scores that were measured before are printed all the same.
""",
    "training": """
- A run was made with other settings: what differs is listed with both values. Repeat the overrides, or start a new run.
- A loss or gradient that is not finite: the weights were not touched; the rows are in `nonfinite.jsonl`.
- Out of memory: where one process trains, the state is saved; `polyjanus validate FILE --memory 24GB` names settings
  that would fit.
- A stage that trains nothing, a run that another process holds: the message names both.
""",
}
"""By code; every code has one (a test holds that)."""


def codes() -> dict[str, type[PolyjanusError]]:
    """Return the classes of errors by code."""
    found = (part for part in vars(errors).values() if inspect.isclass(part) and issubclass(part, PolyjanusError))
    return {part.code: part for part in found if part is not PolyjanusError}


def explain(code: str) -> str:
    """Return what a code means, with usual causes and remedies, as Markdown."""
    known = codes()
    if code not in known:
        raise UsageError(f"no error code {code!r}{suggest(code, list(known), noun='codes')}")
    return f"{inspect.getdoc(known[code])}\n\n{CAUSES[code].strip()}\n"
