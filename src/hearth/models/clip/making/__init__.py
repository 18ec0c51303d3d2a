"""Making ONNX files: of open_clip's weights, and of others in another precision."""
