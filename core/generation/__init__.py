"""One engine that writes text and media, interleaved."""
