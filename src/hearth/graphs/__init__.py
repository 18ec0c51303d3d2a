"""ONNX files rewritten: with a free batch axis, or in another precision.

Every function reads files and writes others, proves what it wrote with ONNX Runtime, and
leaves the files that it read as they are. Needs ``onnx``, and no torch. Nothing here knows
what a graph computes.
"""
