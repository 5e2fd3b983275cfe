"""Whether a component fits where it stands: the modality, the lengths of items, the packages that it needs."""

from __future__ import annotations

from typing import cast

from polyjanus.core.errors import SequenceError, WiringError
from polyjanus.core.modules import Codec, Layout
from polyjanus.core.registry import can_import
from polyjanus.core.settings import BuildContext, ComponentConfig, GenerateConfig


def check_lengths(settings: GenerateConfig, codec: Codec, layout: Layout, prefix: str) -> None:
    """Refuse a layout that takes items of one length for a codec that says that its items differ in theirs.

    One that never said how few codes an item has is believed: its items may be of one length all the same.
    """
    if not _says_fewest(codec):
        return
    fewest, most = max(1, codec.min_codes), codec.max_codes
    try:
        layout.num_steps(fewest)
    except SequenceError as error:
        raise WiringError(
            f"layout {settings.layout.type!r} takes items of one length, but codec {settings.codec.type!r} has items of"
            f" {fewest} to {most} codes",
            paths=[f"{prefix}.layout", f"{prefix}.codec"],
            hint="write `layout: ended`; a codec whose items all have as many codes says min_codes = max_codes",
        ) from error


def _says_fewest(codec: Codec) -> bool:
    owners = [vars(codec), *(vars(kind) for kind in type(codec).__mro__ if kind is not Codec)]
    return any("min_codes" in names for names in owners)


def check_fits(settings: ComponentConfig, context: BuildContext) -> None:
    """Refuse a component that belongs to another type of modality."""
    wanted = type(settings).modality_types
    modality = context.modality
    if not wanted or modality is None:
        return
    offered: str = modality.settings.type
    families = cast("tuple[str, ...]", modality.settings.behaves_like)
    if not {offered, *families} & set(wanted):
        raise WiringError(
            f"{settings.kind} {settings.type!r} works on {' or '.join(wanted)}, not on {offered!r}",
            paths=[context.path, modality.name],
        )


def check_installed(settings: ComponentConfig, context: BuildContext) -> None:
    """Refuse a component whose libraries are not installed; media are refused when a file is read."""
    for name in type(settings).requires if settings.kind != "modality" else ():
        if not can_import(name):
            raise missing_package(settings, context, ImportError(name=name))


def last_line(error: Exception) -> str:
    """Return what a library says in the end, in one line: validators put their own names before the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[0] if len(lines) == 1 or not lines[0].endswith(":") else lines[-1].partition("Error: ")[2] or lines[-1]


def missing_package(settings: ComponentConfig, context: BuildContext, error: ImportError) -> WiringError:
    """Return the error of a component whose package is not installed, with the line for pip."""
    extra = type(settings).extra
    if error.name is None:  # raised by a library that looked for another itself, and names it
        return WiringError(f"{settings.type!r} cannot be built: {last_line(error)}", paths=[context.path])
    remedy = f'pip install "polyjanus[{extra}]"' if extra else f"install the package that has {error.name!r}"
    return WiringError(
        f"{settings.type!r} needs {error.name}, which is not installed", paths=[context.path], hint=remedy
    )
