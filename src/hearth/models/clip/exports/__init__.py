"""Folders of ONNX files: written whole, known again, proved; and which of them a node takes."""
