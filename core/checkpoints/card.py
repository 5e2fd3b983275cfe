"""The model card of a checkpoint: what it takes and gives, and how to use it."""

from __future__ import annotations

from collections.abc import Iterable

YAML = "polyjanus.yaml"
"""The file of a checkpoint that describes it."""


def card(understandings: Iterable[str], outputs: Iterable[str]) -> str:
    """Return the card of a pipeline that understands and writes these modalities."""
    return (
        "---\nlibrary_name: polyjanus\n---\n\n# A polyjanus pipeline\n\n"
        f"Understands {', '.join(['text', *understandings])}. Writes {', '.join(outputs)}."
        f" All of it is described in `{YAML}`.\n\n"
        "```python\nfrom polyjanus import Pipeline\n\n"
        'pipeline = Pipeline.from_pretrained("path/of/this/folder")\nprint(pipeline.run("Hello").text)\n```\n'
    )
