"""The life of each model in the node: its states, and the blocking steps between them."""
