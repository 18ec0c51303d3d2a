"""Which service of a hearth node does a task, for clients that have no tasks themselves."""

TASKS = {
    "clip": (
        "clip_classify",
        "clip_scene_classify",
        "smartclip_scene_classify",
        "clip_image_embed",
        "smartclip_image_embed",
        "clip_embed",
        "clip_text_embed",
        "smartclip_text_embed",
        "smart_classify",
        "smartclip_classify",
    ),
    "bioclip": (
        "bioclip_classify",
        "smartclip_bioclassify",
        "bioclip_image_embed",
        "bioclip_embed",
        "bioclip_text_embed",
    ),
    "siglip": (
        "semantic_image_embed",
        "semantic_text_embed",
    ),
    "ocr": ("ocr",),
    "mediapipe": (
        "face_detection",
        "face_mesh",
        "iris_tracking",
        "hand_tracking",
        "pose_tracking",
        "holistic_tracking",
        "selfie_segmentation",
        "segmentation_effect",
    ),
    "face": (
        "face_detect",
        "face_embed",
        "face_detect_and_embed",
        "face_recognition",
    ),
    "compose": ("compose",),
}
"""All names of the tasks of hearth's own services; a test holds them against the tasks."""


def service_of(task: str) -> str | None:
    """The service that does a task, or None where it is none of hearth's own."""
    return next((service for service, tasks in TASKS.items() if task in tasks), None)
