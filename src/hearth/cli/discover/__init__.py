"""``hearth discover``: the nodes of the network, and what each can do."""
