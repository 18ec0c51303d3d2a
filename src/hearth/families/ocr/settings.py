"""Settings of the service ``ocr``."""

from typing import Literal

from pydantic import Field, PositiveInt

from hearth.sections import Names, ServiceSettings


class OcrSettings(ServiceSettings):
    """Settings of the service ``ocr``."""

    recognition: Names = Field(
        ("PP-OCRv6_small",),
        min_length=1,
        description="models that read lines, with commas between: PP-OCRv6_small (rapidocr's "
        "package has it), other models of PP-OCR by name, ONNX repositories ORG/NAME of the hub, "
        "local folders or .onnx files; each line is read by the first that can write its script",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    require_device: bool = Field(
        False, description="fail rather than fall back to the CPU without a word"
    )
    precision: Literal["auto", "fp32", "int8"] = Field(
        "auto",
        description="of reading lines; int8: in 8 bits, and where a letter is doubtful in float32 "
        "too; auto: int8 on a CPU where a trial at the start proves it right and faster, else fp32",
    )
    ort_providers: Names | None = Field(
        None, description="ONNX Runtime's execution providers, first choice first"
    )
    threads: PositiveInt | None = Field(None, description="threads of a session; unset: all cores")
