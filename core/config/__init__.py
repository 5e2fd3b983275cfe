"""From a YAML file to a validated pipeline; imports no torch."""
