"""``hearth infer``: inputs through the nodes there are, and answers to where they are wanted."""
