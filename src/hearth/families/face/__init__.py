"""Faces for photo libraries: SCRFD finds them, ArcFace tells whose they are; both as ONNX.

The weights that people use (insightface's packs buffalo_l, buffalo_m, buffalo_s, antelopev2,
as published by insightface and by immich-app) are licensed for non-commercial research
only. So the service ``face`` is off unless a node's settings name it, and hearth brings no
weights along. The code here is hearth's own.
"""
