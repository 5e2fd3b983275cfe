"""What is said in the world of the quintet: names, attributes, and the many ways to ask. No signal is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SENSES = ("image", "audio", "point_cloud", "eeg")
"""Modalities beside text."""

Attributes = Mapping[str, str]
"""What a signal is like beside its digit, such as {"colour": "red", "slant": "left"}."""

ATTRIBUTES: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "image": {"colour": ("red", "green", "blue", "black"), "slant": ("left", "right", "upright")},
        "audio": {"pitch": ("high", "low"), "speed": ("fast", "slow")},
        "point_cloud": {"size": ("large", "small"), "tilt": ("left", "right", "level")},
        "eeg": {"amplitude": ("strong", "weak")},
    }
)
"""By sense, the attributes that may be asked for or about, and their values."""

PLAIN: Mapping[str, Attributes] = MappingProxyType(
    {"image": {"colour": "black", "slant": "upright"}, "point_cloud": {"size": "large", "tilt": "level"}}
)
"""What copies are like, whatever they are of."""

Phrases = tuple[str, ...]
"""Ways to say the same thing; the last is never trained on."""

READ: Phrases = (
    "Which digit is this?",
    "What digit is it?",
    "Name this digit.",
    "Tell me which digit this is.",
    "Read it.",
    "Which number do you perceive?",
    "Tell me the number.",
    "What number is this?",
)
ASK: Mapping[str, Phrases] = MappingProxyType(
    {
        "colour": ("What colour is it?", "Name the colour.", "Tell me the colour.", "Which colour is this?"),
        "slant": (
            "Which way does it lean?",
            "Does it lean?",
            "Tell me which way it leans.",
            "Tell me how it leans.",
            "How is it slanted?",
            "How does it lean?",
        ),
        "pitch": ("Is the voice high or low?", "How high is the voice?", "Tell me the pitch.", "Name the pitch."),
        "speed": ("Is it spoken fast or slowly?", "How fast is it?", "Tell me the speed.", "Name the speed."),
        "size": ("Is it large or small?", "How large is it?", "Tell me the size.", "Name the size."),
        "tilt": (
            "Which way is it tilted?",
            "Is it tilted?",
            "Tell me which way it is tilted.",
            "Tell me how it is tilted.",
            "How is it turned?",
            "How is it tilted?",
        ),
        "amplitude": (
            "Is the response strong or weak?",
            "How strong is the response?",
            "Tell me the amplitude.",
            "Name the amplitude.",
        ),
    }
)
DESCRIBE: Phrases = ("Describe it.", "Describe this digit.", "What do you perceive?", "Describe this.")
WRITE: Mapping[str, Phrases] = MappingProxyType(
    {
        "image": (
            "Draw {}.",
            "A picture of {}.",
            "Show me {}.",
            "Write {} by hand.",
            "Please write {}.",
            "Please draw {}.",
        ),
        "audio": (
            "Say {}.",
            "Speak: {}.",
            "Let me hear {}.",
            "The sound of {}.",
            "Please say {}.",
            "Please speak: {}.",
        ),
        "point_cloud": (
            "Make {} as a solid.",
            "A point cloud of {}.",
            "Build {}.",
            "Show me the solid {}.",
            "Please build {}.",
            "Please make {} as a solid.",
        ),
        "eeg": (
            "EEG of looking at {}.",
            "Someone looks at {}.",
            "Record someone who looks at {}.",
            "Brain waves for {}.",
            "Please record {}.",
            "Please: EEG of looking at {}.",
        ),
    }
)
SAME_DIGIT: Mapping[str, Phrases] = MappingProxyType(
    {
        "image": ("Draw this digit.", "Show me this digit.", "A picture of it.", "Please draw this digit."),
        "audio": ("Say this digit.", "Let me hear this digit.", "The sound of it.", "Please say this digit."),
        "point_cloud": ("Build this digit.", "A solid of it.", "Make it as a solid.", "Please build this digit."),
        "eeg": (
            "EEG of looking at this digit.",
            "Someone looks at it.",
            "Brain waves for it.",
            "Please: EEG of looking at it.",
        ),
    }
)
THIS_VERY_ONE: Mapping[str, Phrases] = MappingProxyType(
    {
        "image": ("Draw this very one.", "A picture of this very handwriting.", "Show me this very handwriting."),
        "point_cloud": (
            "Make this very handwriting as a solid.",
            "Build this very one.",
            "Build this very handwriting.",
        ),
    }
)
"""Pictures and solids share instances: the same person's same stroke."""
COMPARE: Phrases = (
    "Are these the same digit?",
    "Is it the same number?",
    "Same or different?",
    "Tell me: the same digit?",
    "Is it the same digit?",
)
ANSWERS = ("different", "same")
CHECK: Phrases = ("Is this {}?", "Is it {}?", "Is that {}?", "Tell me, is this {}?", "Tell me, is it {}?")
NO_YES = ("no", "yes")
BOTH: Phrases = ("Say it and draw it: {}.", "Draw and say {}.", "Please say and draw {}.")
WORDS = (
    (
        "Write {} as a word.",
        "The word for {}.",
        "What is {} in words?",
        "Please name {} in words.",
        "Please write the word for {}.",
        "Please write {} in words.",
        "Please write {} as a word.",
    ),
    "0123456789",
)
"""Numerals to words: the fifth sense, which is text itself."""


TURNED = {"image": ("colour", "slant", "leaning"), "point_cloud": ("size", "tilt", "tilted")}
"""Of senses of things that stand somewhere: what is said before the digit, and after it, with the verb for sides."""
SIDES = ("left", "right")
LEFT_OUT = 0.4
"""Share of phrases in training of which one word is left out, if any may be."""
NEEDED = frozenset(
    "colour lean leans slanted voice high low pitch spoken fast speed large small size tilted turned strong weak"
    " response amplitude very same".split()
)
"""Words without which a phrase would ask for something else."""


def choose(phrases: Sequence[str], noise: np.random.Generator | None) -> str:
    """Return a phrase that is trained on, sometimes less a word; without noise the one that is kept for testing.

    Whoever knows few phrases learns them by heart as they are, and takes another one for whichever begins alike.
    """
    if noise is None:
        return phrases[-1]
    said = phrases[int(noise.integers(len(phrases) - 1))].split()
    spare = [place for place, word in enumerate(said[:-1]) if word.strip(",:.?") not in NEEDED and "{}" not in word]
    if len(said) > 2 and spare and noise.random() < LEFT_OUT:
        del said[spare[int(noise.integers(len(spare)))]]
    return " ".join(said)


def other(digit: int, noise: np.random.Generator) -> int:
    """Return any digit but this."""
    return (digit + int(noise.integers(1, len(NAMES)))) % len(NAMES)


def described(sense: str, name: str, attributes: Attributes) -> str:
    """Return a digit with the attributes that are given, in words: `a red seven leaning left`."""
    if sense in TURNED:
        first, second, verb = TURNED[sense]
        turned = attributes.get(second, "")
        words = ["a", attributes.get(first, ""), name, f"{verb} {turned}" if turned in SIDES else turned]
        return " ".join(word for word in words if word)
    said = " and ".join(attributes[kind] for kind in ATTRIBUTES[sense] if kind in attributes)
    return f"{name}, {said}" if said else name


def wish(sense: str, name: str, attributes: Attributes, noise: np.random.Generator | None) -> str:
    """Return a request for a digit; without noise in the phrase that is kept for testing."""
    return choose(WRITE[sense], noise).format(described(sense, name, attributes))


def check(sense: str, name: str, noise: np.random.Generator | None) -> str:
    """Return a question that is answered by yes or no; without noise in the phrase that is kept for testing."""
    return choose(CHECK, noise).format(described(sense, name, {}))
