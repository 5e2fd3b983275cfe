"""Stages, the loop, and the state that survives it."""
