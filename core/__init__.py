"""The contracts, the sequence, the unified model, generation and training: no modality but text."""
