"""The ranks of the tree of life. Imports nothing: options of tasks name them as well."""

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
