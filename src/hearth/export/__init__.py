"""Offline work on model files: ONNX exports, other precisions, dynamic batches; each proved.

A node at run time reads what is written here; only the wiring and the command line start it.
"""
