"""ONNX files as graphs: read, rewritten in memory, written; weights may lie beside them."""
