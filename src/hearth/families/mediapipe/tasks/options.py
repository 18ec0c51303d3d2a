"""Options that several of MediaPipe's tasks have, with MediaPipe's names as aliases."""

from hearth.tasks.options import Option

CONFIDENCE = Option(
    "min_confidence",
    "float",
    0.5,
    "leave out what is found less certainly than this",
    aliases=("min_detection_confidence",),
    least=0,
    most=1,
)
TRACKING_CONFIDENCE = Option(
    "min_tracking_confidence",
    "float",
    0.5,
    "leave out whose points are less certain than this, and follow them no further",
    least=0,
    most=1,
)
RANGE = Option(
    "range",
    "choice",
    "short",
    "short: faces of at least some 11 % of the picture's longer side, as within 2 metres; full: of "
    "5 %, as within 5 metres",
    choices=("short", "full"),
)
SMOOTH = Option("smooth", "flag", True, "in a video: calm the points that tremble")
MIRRORED = Option(
    "mirrored",
    "flag",
    False,
    "true: the picture is mirrored, as a selfie camera shows it; left and right are still "
    "the subject's",
)
COORDINATES = Option(
    "coordinates",
    "choice",
    "both",
    "pixel, normalized (0 to 1 of width and height) or both",
    choices=("both", "pixel", "normalized"),
)
SEGMENTER = Option(
    "model",
    "choice",
    "general",
    "general: 256×256 pixels; landscape: 256×144, in half the time",
    choices=("general", "landscape"),
)
