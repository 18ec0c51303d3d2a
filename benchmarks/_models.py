"""Models and pictures for the benchmarks, made once and kept in ``data/bench``."""

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent.parent / "data" / "bench"


def vit_b_32() -> Path:
    """ViT-B-32 with random weights as ONNX fp32; made in about a minute the first time."""
    folder = FOLDER / "ViT-B-32-random"
    if not (folder / "visual" / "model.onnx").exists():
        import torch

        from hearth.models.clip.export import export_model
        from hearth.models.clip.openclip import import_open_clip

        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as scratch:
            weights = Path(scratch) / "random.pt"
            torch.save(import_open_clip().create_model("ViT-B-32").state_dict(), weights)
            export_model("ViT-B-32:random", data_dir=FOLDER, checkpoint=weights, target=folder)
    return folder


def jpegs(count: int, size: int = 224) -> list[bytes]:
    """Different square JPEGs of about 12 KB at 224 pixels."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        coarse = random.integers(0, 256, (28, 28, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        target = io.BytesIO()
        picture.save(target, "JPEG", quality=90)
        pictures.append(target.getvalue())
    return pictures
