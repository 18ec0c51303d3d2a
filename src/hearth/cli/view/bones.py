"""Which points belong together: facts of MediaPipe 0.10.21's own lists of connections."""

HAND_BONES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, 1), (0, 5), (5, 9), (9, 13), (13, 17), (0, 17)),
    ((1, 2), (2, 3), (3, 4)),
    ((5, 6), (6, 7), (7, 8)),
    ((9, 10), (10, 11), (11, 12)),
    ((13, 14), (14, 15), (15, 16)),
    ((17, 18), (18, 19), (19, 20)),
)
"""The palm, and the thumb to the little finger (hands_connections)."""

POSE_LEFT = ((11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19),
             (23, 25), (25, 27), (27, 29), (27, 31), (29, 31))  # fmt: skip
POSE_RIGHT = ((12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20),
              (24, 26), (26, 28), (28, 30), (28, 32), (30, 32))  # fmt: skip
POSE_TRUNK = ((11, 12), (11, 23), (12, 24), (23, 24))
POSE_FACE = ((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10))
"""A body's 33 points, by sides (pose_connections)."""

POSE_POINTS_OF_FACE = range(11)
POSE_POINTS_OF_HANDS = {"left": (17, 19, 21), "right": (18, 20, 22)}
"""Points that a face or a hand of its own tells better."""

FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400,
             377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67,
             109)  # fmt: skip
LIPS = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""Closed lines of a mesh of 468 points (face_mesh_connections)."""

BROWS = (
    (70, 63, 105, 66, 107), (46, 53, 52, 65, 55),
    (300, 293, 334, 296, 336), (276, 283, 282, 295, 285),
)  # fmt: skip
"""Open lines of the same."""

EYE = (0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 14, 13, 12, 11, 10, 9)
"""A closed line of the iris model's contour: along the lower lid to the inner corner, and back
along the upper one."""
