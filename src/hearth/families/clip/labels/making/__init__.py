"""The vectors of labels: taken over where they fit, made where not, and kept."""
