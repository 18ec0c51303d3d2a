"""One service behind every door: admission, routing, the life of models, and what is counted."""
