"""The tasks of CLIP's family."""
