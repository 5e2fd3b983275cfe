"""Checkpoints: folders written whole, read with proof."""
