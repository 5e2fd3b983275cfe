"""Media are decoded in a process of their own, so that a library that crashes, hangs or swells costs one item."""
