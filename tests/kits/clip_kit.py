"""Tiny CLIP models with random weights, and the pictures and texts to try them with.

    tiny_module, tiny_folder, tiny_export     # fixtures: in memory, open_clip's layout, ONNX
    with loaded(tmp_path, model=str(tiny_export)) as model: ...

The vocabulary is CLIP's own (49408 pieces, 77 tokens), the towers are toys.
"""

import io
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hearth.batching import RequestContext
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.families.clip.loader import ClipLoader
from hearth.families.clip.model import ClipModel
from hearth.families.clip.openclip import import_open_clip
from hearth.families.clip.origins import export_folder
from hearth.families.clip.services import clip_labels
from hearth.families.clip.settings import ClipSettings
from hearth.families.clip.variants import variant_folder
from hearth.hub.progress import no_progress
from hearth.hub.reference import parse
from hearth.hub.store import HubStore
from hearth.media import ImageReader
from hearth.models.options import QueueOptions
from hearth.tasks.options import read_all
from hearth.tasks.task import Call, Request, Task

ARCHITECTURE = "tiny-hearth"
TAG = "random_weights"
NAME = f"{ARCHITECTURE}:{TAG}"

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}

TEXTS = (
    "",
    "a photo of a cat",
    "two dogs, running on the BEACH!",
    "Crème brûlée — naïve café",
    "emoji 😀👩‍👩‍👧 🏳️‍🌈",
    "“curly quotes” and it’s I'LL don’t",
    "salt &amp; pepper &lt;b&gt; &amp;eacute;",
    "日本語のテキスト 12345",
    "   spaces\t\tand\nlines  ",
    "more than seventy seven tokens " * 40,
    "x" * 3000,
    "a {brace} and 100 % {}",
)


def tiny_module(seed: int = 0, **changes: Any) -> Any:
    """An open_clip model with random weights that tell inputs well apart."""
    import torch

    open_clip = import_open_clip()
    torch.manual_seed(seed)
    config = json.loads(json.dumps({**TINY, **changes}))
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    module = kind(**config).eval()
    with torch.no_grad():
        # As initialised, all inputs come out nearly alike.
        for parameter in module.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(1.5)
        module.logit_scale.fill_(np.log(37.5))
    return module


def write_open_clip(folder: Path, module: Any, **changes: Any) -> Path:
    """A model as open_clip publishes it: config, preprocessing and weights."""
    import safetensors.torch

    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "model_cfg": {**TINY, **changes},
        "preprocess_cfg": {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    safetensors.torch.save_file(module.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def export(folder: Path, target: Path) -> Path:
    """The ONNX files of a model in open_clip's layout; returns ``target``."""
    from hearth.export.clip_folder import ExportOptions
    from hearth.export.clip_graphs import export_model

    options = ExportOptions(data_dir=target.parent, target=target, offline=True)
    return export_model(str(folder), options).folder


def variant(export: Path, precision: Any, data_dir: Path) -> Path:
    """An export in another precision, made in a data folder."""
    from hearth.export.clip_folder import ExportOptions
    from hearth.export.clip_variant import export_variant

    options = ExportOptions(data_dir=data_dir, offline=True)
    return export_variant(str(export), precision, options).folder


def place_export(export: Path, data_dir: Path, name: str) -> Path:
    """An export in a data folder, as if it had been made there of the model of that name.

    A variant comes to lie beside the place of the graphs in fp32.
    """
    about = json.loads((export / "hearth.json").read_text())
    folder = export_folder(data_dir, parse(name))
    if about["precision"] != "fp32":
        folder = variant_folder(folder, about["precision"])
    shutil.copytree(export, folder)
    about["reference"] = parse(name).full_name
    (folder / "hearth.json").write_text(json.dumps(about))
    return folder


def vit_b_32(folder: Path) -> tuple[Any, Path]:
    """A ViT-B-32 with random weights, in memory, and its ONNX files in ``folder``.

    The weights alone are 600 MB: they are never written as a checkpoint.
    """
    import torch

    from hearth.export import clip_graphs
    from hearth.families.clip import openclip

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = import_open_clip().create_model("ViT-B-32")
    config = openclip.architecture_config("ViT-B-32")
    checkpoint = openclip.Checkpoint("ViT-B-32", config, Path("random"))
    clip_graphs._write(folder, checkpoint, openclip.describe(module, checkpoint), no_progress)
    return module, folder


def source(
    data_dir: Path,
    *,
    hub: HubStore | None = None,
    options: QueueOptions | None = None,
    labels: Sequence[LabelSet] | None = None,
    labels_file: Path | None = None,
    **settings: Any,
) -> ClipLoader:
    """A ClipLoader; ``settings`` are ClipSettings'. Without ``labels`` it has CLIP's own."""
    chosen = ClipSettings(**settings, labels=labels_file)
    return ClipLoader(
        chosen,
        labels=clip_labels(chosen) if labels is None else lambda _: labels,
        hub=hub or HubStore(data_dir, offline=True),
        data_dir=data_dir,
        reader=ImageReader(178_956_970),
        options=options or QueueOptions(max_batch=8),
    )


@contextmanager
def loaded(data_dir: Path, **settings: Any) -> Iterator[ClipModel]:
    """A model from local files, closed at the end."""
    model = source(data_dir, **settings).load()
    try:
        yield model
    finally:
        model.close()


@cache
def pictures() -> Mapping[str, bytes]:
    """Image files of every format and of every awkward kind, by a telling name."""
    photo = _photo(240, 180)
    clear = photo.copy()
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 240, dtype=np.uint8), (180, 1))))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    return {
        "photo.jpg": _saved(photo, "JPEG", quality=92),
        "twelve-megapixels.jpg": _saved(_photo(4000, 3000), "JPEG", quality=85),
        "rotated-by-exif.jpg": _saved(photo, "JPEG", exif=exif, quality=92),
        "grey.jpg": _saved(photo.convert("L"), "JPEG"),
        "cmyk.jpg": _saved(photo.convert("CMYK"), "JPEG"),
        "one-pixel.png": _saved(Image.new("RGB", (1, 1), (200, 30, 90)), "PNG"),
        "wide-20000x10.png": _saved(_photo(20000, 10), "PNG"),
        "tall-10x20000.png": _saved(_photo(10, 20000), "PNG"),
        "transparent.png": _saved(clear, "PNG"),
        "palette.png": _saved(photo.quantize(16), "PNG"),
        "sixteen-bit.png": _saved(Image.fromarray(deep), "PNG"),
        "transparent.webp": _saved(clear, "WEBP", lossless=True, exact=True),
        "photo.webp": _saved(photo, "WEBP"),
        "photo.avif": _saved(photo, "AVIF"),
        "photo.bmp": _saved(photo, "BMP"),
        "palette.gif": _saved(photo.quantize(32), "GIF"),
        "photo.tiff": _saved(photo, "TIFF"),
        "sixteen-bit.tiff": _saved(Image.fromarray(deep), "TIFF"),
    }


def decoded(payload: bytes) -> Image.Image:
    """The picture as it should be seen, the slow and plain way: upright, 8 bits, RGB."""
    image = Image.open(io.BytesIO(payload))
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    upright: Image.Image = ImageOps.exif_transpose(image)
    return upright.convert("RGBA").convert("RGB") if upright.mode == "P" else upright.convert("RGB")


def reference_image_vectors(module: Any, images: list[Image.Image]) -> NDArray[np.float32]:
    """open_clip's own vectors of pictures, through its own transform; float32 (n, dim)."""
    import torch

    import_open_clip()
    from open_clip.transform import PreprocessCfg, image_transform_v2

    size = module.visual.image_size
    config = getattr(module.visual, "preprocess_cfg", None) or {"size": size}
    transform = image_transform_v2(PreprocessCfg(**config), is_train=False)
    with torch.inference_mode():
        pixels = torch.stack([transform(image) for image in images])
        return np.asarray(module.encode_image(pixels, normalize=True).numpy())


def reference_text_vectors(module: Any, texts: tuple[str, ...] = TEXTS) -> NDArray[np.float32]:
    """open_clip's own vectors of texts, with its own tokenizer; float32 (n, dim)."""
    import torch

    tokens = import_open_clip().SimpleTokenizer(context_length=77)(list(texts))
    with torch.inference_mode():
        return np.asarray(module.encode_text(tokens, normalize=True).numpy())


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Of two vectors, whatever their lengths."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def call_of(task: Task, payload: bytes, *, mime: str = "", **meta: str) -> Call:
    """What the router makes of a request."""
    request = Request(task.name, payload, mime, meta)
    return Call(request, read_all(task.options, meta), RequestContext())


def _photo(width: int, height: int) -> Image.Image:
    """A picture with soft and hard edges, no two parts alike."""
    random = np.random.default_rng(width)
    coarse = random.integers(0, 256, (9, 12, 3), np.uint8)
    soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(soft).copy()
    pixels[height // 4 : height // 2, width // 3 : width // 2] = (250, 200, 20)
    return Image.fromarray(pixels)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()
