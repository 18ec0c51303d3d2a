"""Toy models of CLIP's family: BioCLIP in CLIP's layout, SigLIP 2 in CustomTextCLIP's.

    bioclip = family_kit.bioclip(folder)      # an open_clip folder, its module and its config
    siglip = family_kit.siglip(folder)
    family_kit.species(hub, bioclip)          # a small TreeOfLife with the model's own vectors

Both take pictures of 224 pixels, so that the contract's tensor ids are theirs.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import clip_kit
from hub_kit import HubServer

BIOCLIP = "imageomics/bioclip-2"
SIGLIP = "siglip2-base-patch16-224"
TREE = "datasets/imageomics/TreeOfLife-200M"

_VISION = {"image_size": 224, "layers": 1, "width": 32, "patch_size": 56, "head_width": 16}

BIOCLIP_CONFIG: dict[str, Any] = {**clip_kit.TINY, "embed_dim": 24, "vision_cfg": _VISION}
BIOCLIP_PREPROCESS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
SIGLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 40,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": _VISION,
    "text_cfg": {
        "context_length": 64,
        "vocab_size": 200,
        "hf_tokenizer_name": "tests/letters",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 32,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
    },
}
SIGLIP_PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}

_SPECIES = """
Animalia Chordata Mammalia Carnivora Felidae Felis catus: Domestic Cat
Animalia Chordata Mammalia Carnivora Felidae Felis silvestris: Wildcat
Animalia Chordata Mammalia Carnivora Felidae Panthera leo: Lion
Animalia Chordata Mammalia Carnivora Canidae Vulpes vulpes: Red Fox
Animalia Chordata Aves Passeriformes Corvidae Pica pica: Magpie
Animalia Chordata Aves Strigiformes Strigidae Bubo bubo:
Animalia Arthropoda Insecta Coleoptera Lucanidae Lucanus cervus:
Animalia Arthropoda Insecta Hymenoptera Apidae Apis mellifera: Honey Bee
Plantae Tracheophyta Magnoliopsida Rosales Rosaceae Rosa canina: Dog Rose
Plantae Tracheophyta Magnoliopsida Fagales Fagaceae Quercus robur: Oak
Fungi Basidiomycota Agaricomycetes Agaricales Amanitaceae Amanita muscaria:
Animalia Chordata Amphibia Anura Ranidae Rana temporaria: Common Frog
"""
SPECIES: tuple[tuple[list[str], str], ...] = tuple(
    (ranks.split(), common.strip())
    for ranks, common in (line.split(":") for line in _SPECIES.strip().splitlines())
)
"""Kingdom, phylum, class, order, family, genus and epithet; and the common name."""


@dataclass(frozen=True)
class Model:
    """A model in memory, and the folder that open_clip would publish."""

    module: Any
    folder: Path
    preprocess: dict[str, Any]

    def image_vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """open_clip's own vectors, through its own transform: float32 (n, dim)."""
        import torch

        clip_kit.import_open_clip()
        from open_clip.transform import PreprocessCfg, image_transform_v2

        transform = image_transform_v2(PreprocessCfg(size=224, **self.preprocess), is_train=False)
        with torch.inference_mode():
            pixels = torch.stack([transform(image) for image in images])
            return np.asarray(self.module.encode_image(pixels, normalize=True).numpy())

    def text_vectors(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """open_clip's own vectors of token ids (n, context): float32 (n, dim)."""
        import torch

        with torch.inference_mode():
            vectors = self.module.encode_text(torch.from_numpy(tokens), normalize=True)
        return np.asarray(vectors.numpy())


def bioclip(folder: Path) -> Model:
    """A toy BioCLIP with CLIP's own tokenizer."""
    return _write(folder, BIOCLIP_CONFIG, BIOCLIP_PREPROCESS, seed=1)


def siglip(folder: Path) -> Model:
    """A toy SigLIP 2: other classes of open_clip, a tokenizer of its own, 64 tokens."""
    model = _write(folder, SIGLIP_CONFIG, SIGLIP_PREPROCESS, seed=2)
    tokenizer = letters()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    return model


def letters() -> Any:
    """A tokenizer with a token for each letter, and one for the end of a text."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    ids = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    ids |= {chr(code): len(ids) + n for n, code in enumerate(range(0x20, 0x7F))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return tokenizer


def letter_ids(text: str, context: int = 64) -> NDArray[np.int64]:
    """What ``letters`` makes of a lower-case text without punctuation, the plain way."""
    ids = np.zeros((1, context), np.int64)
    kept = text[: context - 1]
    ids[0, : len(kept) + 1] = [*(ord(letter) - 0x20 + 3 for letter in kept), 1]
    return ids


def prompt_of(ranks: Sequence[str], common: str) -> str:
    """A text that stands for a species, as the data set's makers wrote them."""
    return f"a photo of {' '.join(ranks)}" + (f" with common name {common}." if common else ".")


def species(hub: HubServer, model: Model, *, repository: str = TREE, shipped: Any = None) -> Any:
    """Serve the data set, with vectors that the model gave; returns these, (dim, labels)."""
    tokenizer = clip_kit.import_open_clip().SimpleTokenizer(context_length=77)
    if shipped is None:
        texts = [prompt_of(ranks, common) for ranks, common in SPECIES]
        shipped = model.text_vectors(tokenizer(texts).numpy()).T
    buffer = io.BytesIO()
    np.save(buffer, shipped)
    names = json.dumps(SPECIES).encode()
    hub.add_repository(
        repository,
        {
            "embeddings/txt_emb_species.npy": buffer.getvalue(),
            "embeddings/txt_emb_species.json": names,
        },
    )
    return shipped


def tensor_of(image: Image.Image, preprocess: dict[str, Any], method: Any) -> NDArray[np.float32]:
    """What a client of the tensor fast path sends of an upright picture: float32 (1, 3, 224, 224).

    Written out, so that it doesn't depend on our own transform.
    """
    if preprocess["resize_mode"] == "squash":
        resized = image.resize((224, 224), method)
    else:
        scale = 224 / min(image.size)
        width, height = (max(224, int(side * scale)) for side in image.size)
        left, top = round((width - 224) / 2), round((height - 224) / 2)
        resized = image.resize((width, height), method).crop((left, top, left + 224, top + 224))
    pixels = np.asarray(resized, np.float32) / 255
    mean, std = (np.array(preprocess[name], np.float32) for name in ("mean", "std"))
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1)[None])


def tensor_meta(preprocess_id: str, size: int = 224) -> dict[str, str]:
    """The meta that clients of the tensor fast path send."""
    return {
        "lumen.input.kind": "tensor",
        "lumen.tensor.dtype": "fp32",
        "lumen.tensor.shape": f"[1,3,{size},{size}]",
        "lumen.tensor.layout": "NCHW",
        "lumen.tensor.format": "contiguous",
        "lumen.tensor.byte_order": "little",
        "lumen.preprocess.id": preprocess_id,
        "lumen.preprocess.skip": "true",
    }


def _write(folder: Path, config: dict[str, Any], preprocess: dict[str, Any], seed: int) -> Model:
    import safetensors.torch

    plain = {name: value for name, value in config.items() if name != "custom_text"}
    text = {**config["text_cfg"]}
    # The library would fetch it; in the folder it is named all the same.
    for key in ("hf_tokenizer_name", "tokenizer_kwargs"):
        text.pop(key, None)
    module = clip_kit.tiny_module(
        seed, **{**plain, "text_cfg": text, "custom_text": config.get("custom_text", False)}
    )
    folder.mkdir(parents=True)
    about = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    safetensors.torch.save_file(module.state_dict(), folder / "open_clip_model.safetensors")
    return Model(module, folder, preprocess)
