"""Settings of the service ``mediapipe``."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from hearth.sections import Paths, ServiceSettings


class MediapipeSettings(ServiceSettings):
    """Settings of the service ``mediapipe``."""

    load: Literal["first_use", "ready"] = Field(
        "first_use",
        description="first_use opens a model when a request needs it first; ready opens and "
        "tries all of them at the start",
    )
    interpreters: PositiveInt | None = Field(
        None,
        description="interpreters of a model, so many rows run at once; "
        "unset: one a core, at most 4",
    )
    wheel: Path | None = Field(
        None,
        description="a wheel of mediapipe 0.10.21 to take the models from; unset: fetched with pip",
    )
    bundles: Paths = Field(
        (),
        description=".task bundles or .tflite files of MediaPipe's to use instead, with commas "
        "between; .task files in the data folder's mediapipe folder are used as well",
    )
