"""Exports of CLIP: known again by their fingerprints, proved; and which of them a node takes."""
