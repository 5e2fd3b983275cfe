"""Messages to sequences: typed parts, templates, spans, packing."""
