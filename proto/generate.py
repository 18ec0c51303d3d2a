"""Write the Python stubs of proto/ into src/hearth/contract.

protoc's Python plugin writes imports from the root of the proto tree; the stubs
live inside hearth, so that an application's own ``home_native`` package stays its own.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TARGET = ROOT.parent / "src" / "hearth" / "contract"


def main() -> None:
    """Generate, then move the modules up and mend their imports."""
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{ROOT}",
            f"--python_out={TARGET}",
            f"--grpc_python_out={TARGET}",
            f"--mypy_out={TARGET}",
            f"--mypy_grpc_out={TARGET}",
            "home_native/v1/ml_service.proto",
        ],
        check=True,
    )
    made = TARGET / "home_native" / "v1"
    for path in made.iterdir():
        text = path.read_text(encoding="utf-8").replace(
            "home_native.v1 import", "hearth.contract import"
        )
        text = text.replace(
            "from home_native.v1.ml_service_pb2", "from hearth.contract.ml_service_pb2"
        )
        (TARGET / path.name).write_text(text, encoding="utf-8")
        path.unlink()
    made.rmdir()
    made.parent.rmdir()


if __name__ == "__main__":
    main()
