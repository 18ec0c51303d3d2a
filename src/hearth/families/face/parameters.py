"""The graphs of SCRFD and ArcFace, their numbers, and where these come from.

Plain Python: tasks and sources read them.
"""

from collections.abc import Mapping

DETECTION, RECOGNITION = "detection", "recognition"
"""The roles of the two graphs."""

IN_LAYOUT: Mapping[str, str] = {role: f"{role}/model.onnx" for role in (DETECTION, RECOGNITION)}
"""Path by role, in a repository of the hub, and in a folder that looks like one."""

INPUT_SIDE = 640
"""Pixels of the square that SCRFD looks at where its graph leaves that open: the ``det_size`` of
insightface's FaceAnalysis."""

STRIDES = (8, 16, 32, 64, 128)
"""Pixels from one anchor to the next, level by level: three levels in SCRFD's published models
(Guo et al. 2021, "Sample and Computation Redistribution for Efficient Face Detection"), five in
variants."""

DETECTION_MEAN, DETECTION_SCALE = 127.5, 128.0
"""SCRFD takes (pixel - 127.5) / 128, RGB (insightface, model_zoo)."""

RECOGNITION_MEAN, RECOGNITION_SCALE = 127.5, 127.5
"""ArcFace takes (pixel - 127.5) / 127.5, RGB (insightface, model_zoo)."""

MIN_CONFIDENCE = 0.5
"""insightface's ``det_thresh``."""

NMS_THRESHOLD = 0.4
"""insightface's ``nms_thresh``: of two boxes that share more than this, the surer one stays."""

POINTS = 5
"""Left eye, right eye, tip of the nose, left and right corner of the mouth, as the picture shows
them: the left eye is the one further left."""

SIDE = 112
"""Pixels of the aligned face that ArcFace looks at."""

DIM = 512
"""Numbers in an ArcFace vector, as photo libraries store it."""

TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Places of the five points in an aligned face, (x, y) in pixels of 112: ArcFace (Deng et al. 2019)
as insightface distributes it, the template of its ``face_align``."""

# What is below is hearth's own.

MOST_FACES = 1000
"""Largest number of faces in one picture; the surest ones."""

MOST_CANDIDATES = 5000
"""Boxes that are compared with one another, the surest; a crowd has some ten for each face."""

LEAST_KEPT = 0.1
"""Faces this sure are kept of a picture for whoever asks for it next, with other options."""
