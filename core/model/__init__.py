"""The unified model: embed, scatter, backbone, heads."""
