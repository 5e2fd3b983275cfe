"""Starting a plugin: templates of a modality, as a package or as one file, and what fills them in."""
