"""Other names of tasks, which clients of the field send (protocol.md, families A and B)."""

from collections.abc import Mapping

ALIASES: Mapping[str, tuple[str, ...]] = {
    "clip_embed": ("clip_text_embed", "smartclip_text_embed"),
    "clip_image_embed": ("smartclip_image_embed",),
    "clip_scene_classify": ("smartclip_scene_classify",),
    "bioclip_embed": ("bioclip_text_embed",),
    "bioclip_classify": ("smartclip_bioclassify",),
    "smart_classify": ("smartclip_classify",),
}
"""By the task's own name."""
