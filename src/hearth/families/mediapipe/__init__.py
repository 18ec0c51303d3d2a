"""MediaPipe's vision models on LiteRT, without the package that they come in."""
