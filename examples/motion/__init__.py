"""Simulated accelerometer recordings for examples/motion.yaml, and what made them."""
