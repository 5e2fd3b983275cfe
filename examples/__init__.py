"""Pipelines that run, and what they need."""
