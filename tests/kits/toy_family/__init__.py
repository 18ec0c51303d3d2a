"""A family of the tests' own: this folder, and a line in the registry, are all there is to it."""
