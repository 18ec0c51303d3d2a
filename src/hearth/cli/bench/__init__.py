"""``hearth bench``: how much the nodes do, and how soon."""
