"""``hearth models``: the node's model files."""
