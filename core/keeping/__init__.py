"""What frozen components gave for items, kept on disk and used again; nothing here knows a modality."""
