"""``hearth watch``: frames of a source go to a node, and what it sees is drawn on them."""
