"""The tokenizer of a Janus checkpoint. Ids differ between Janus-Pro-1B and -7B, so all of them come from here."""

from __future__ import annotations

from polyjanus.core import hf
from polyjanus.core.errors import CheckpointError
from polyjanus.core.sequence.tokenizer import TextTokenizer

PAD = "<｜▁pad▁｜>"
BEGIN, END = "<begin_of_image>", "<end_of_image>"
PLACEHOLDER = "<image_placeholder>"


def read_tokenizer(source: str) -> TextTokenizer:
    """Return the tokenizer of a folder or hub id.

    Its tokenizer.json is taken as it is: the class that the checkpoint names would split text in another way. The
    checkpoints name no padding token (`pad_token: null`); without one, guidance would be measured against the wrong
    context, so it is found by its string, and a tokenizer that has none is refused.
    """
    library = hf.library().PreTrainedTokenizerFast.from_pretrained(source)
    known = library.get_vocab()
    if PAD in known:
        library.pad_token = PAD
    elif library.pad_token is None:
        raise CheckpointError(f"the tokenizer has neither {PAD!r} nor a padding token of its own", where=source)
    missing = [token for token in (BEGIN, END) if token not in known]
    if missing:
        raise CheckpointError(f"the tokenizer lacks {', '.join(missing)}; this is no tokenizer of Janus", where=source)
    return TextTokenizer(library)
