"""Settings of the service ``face``."""

from pathlib import Path

from pydantic import Field

from hearth.sections import Names, ServiceSettings


class FaceSettings(ServiceSettings):
    """Settings of the service ``face``."""

    model: str = Field(
        "immich-app/buffalo_l", description="an ONNX repository of the hub, or a local folder"
    )
    detection: Path | None = Field(None, description="an ONNX file of SCRFD, instead of model's")
    recognition: Path | None = Field(
        None, description="an ONNX file of ArcFace, instead of model's"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    require_device: bool = Field(
        False, description="fail rather than fall back to the CPU without a word"
    )
    ort_providers: Names | None = Field(
        None, description="ONNX Runtime's execution providers, first choice first"
    )
    min_confidence: float = Field(
        0.5, ge=0, le=1, description="faces of less are left out, where a request doesn't say"
    )
