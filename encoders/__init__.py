"""Modalities: one folder each, with its media, encoders and codecs."""
