"""Settings of the services of CLIP's family."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from hearth.sections import RELOADABLE, Engine, Names, ServiceSettings

Precision = Literal["auto", "fp32", "fp16", "int8"]
Templates = Literal["auto", "single", "simple", "openai"]


class ClipSettings(ServiceSettings):
    """Settings of the service ``clip``."""

    backend: Engine = Field(
        "onnxrt",
        description="onnxrt or torch; any other that `hearth doctor` lists runs a local folder's "
        "graphs (rknn is understood, and not in this version yet)",
    )
    model: str = Field(
        "ViT-B-32:laion2b_s34b_b79k",
        description="ARCH:TAG of open_clip, a hub repository ORG/NAME, or a local folder",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    require_device: bool = Field(
        False, description="fail rather than fall back to the CPU without a word"
    )
    max_batch_size: PositiveInt | None = Field(
        None, description="the largest batch; unset: batch_size"
    )
    precision: Precision = Field(
        "auto",
        description="fp32, fp16 or int8 of an export (onnxrt); auto: on a CPU int8, on a GPU fp16, "
        "where `hearth models export --precision` has made and checked it, else fp32",
    )
    onnx_image: Path | None = Field(None, description="an ONNX file of the image tower")
    onnx_text: Path | None = Field(None, description="an ONNX file of the text tower")
    ort_providers: Names | None = Field(
        None, description="ONNX Runtime's execution providers, first choice first"
    )
    rknn_model: Path | None = Field(None, description="an RKNN file (backend rknn)")
    rknn_target: str = Field("rk3588", description="the board of the RKNN file")
    labels: Path | None = Field(
        None,
        description="a text or JSON file of labels to classify with, instead of ImageNet's",
        json_schema_extra=RELOADABLE,
    )
    templates: Templates = Field(
        "auto",
        description="prompts for a class name: single (1), open_clip's simple (7) or openai (80); "
        "auto: simple where open_clip is installed, else single",
        json_schema_extra=RELOADABLE,
    )


class ClipLikeSettings(ServiceSettings):
    """Settings of another service of CLIP's family: what isn't set here is as in ``clip``."""

    backend: Engine | None = Field(None, description="unset: clip.backend")
    model: str
    device: str | None = Field(None, description="unset: clip.device")
    require_device: bool | None = Field(None, description="unset: clip.require_device")
    max_batch_size: PositiveInt | None = Field(None, description="unset: clip.max_batch_size")
    precision: Precision = Field("auto", description="as clip.precision")
    onnx_image: Path | None = Field(None, description="an ONNX file of the image tower")
    onnx_text: Path | None = Field(None, description="an ONNX file of the text tower")
    ort_providers: Names | None = Field(None, description="unset: clip.ort_providers")
    rknn_model: Path | None = Field(None, description="an RKNN file (backend rknn)")
    rknn_target: str | None = Field(None, description="unset: clip.rknn_target")

    def over(self, clip: ClipSettings) -> ClipSettings:
        """Put these settings over CLIP's, which stay where they are unset; never CLIP's files."""
        files = {"onnx_image": None, "onnx_text": None, "rknn_model": None, "labels": None}
        known = ClipSettings.model_fields
        own = {name: value for name, value in self if name in known and value is not None}
        return clip.model_copy(update={**files, **own})

    def filled(self, sections: Mapping[str, ServiceSettings]) -> ClipSettings:
        """Fill what is unset from the section ``clip``."""
        clip = sections["clip"]
        assert isinstance(clip, ClipSettings)
        return self.over(clip)


class BioclipSettings(ClipLikeSettings):
    """Settings of the service ``bioclip``."""

    model: str = Field(
        "imageomics/bioclip-2", description="as clip.model; of BioCLIP's family for its labels"
    )
    labels: Path | None = Field(
        None,
        description="a text or JSON file of labels, instead of the species of label_data",
        json_schema_extra=RELOADABLE,
    )
    label_data: str = Field(
        "imageomics/TreeOfLife-200M",
        description="the hub's data set with the names of species and their text vectors",
    )
    label_vectors: Literal["float32", "float16"] = Field(
        "float32", description="how label vectors are kept; float16 takes half, and more time"
    )


class SiglipSettings(ClipLikeSettings):
    """Settings of the service ``siglip``."""

    model: str = Field(
        "siglip2-base-patch16-224",
        description="siglip2-base-patch16-224, siglip2-so400m-patch14-384, or as clip.model",
    )
