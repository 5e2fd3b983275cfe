"""Built-in components of no modality, registered through the same door as everyone else."""
