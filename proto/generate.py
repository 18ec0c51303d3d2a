"""Write the Python stubs of proto/ into src/hearth/contract, and the contract's image.

protoc's Python plugin writes imports from the root of the proto tree; the stubs
live inside hearth, so that an application's own ``home_native`` package stays its own.

``contract.json`` is the image that ``buf breaking`` holds the files against: it grows by what
is added to them, and is never written where they would break a client.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
IMAGE = ROOT / "contract.json"
TARGET = ROOT.parent / "src" / "hearth" / "contract"


def write_image() -> None:
    """Renew the image; raises CalledProcessError where a client of the old one would break."""
    subprocess.run(["buf", "breaking", ROOT, "--against", IMAGE], check=True)
    build = ["buf", "build", ROOT, "--exclude-source-info", "-o", "-#format=json"]
    image = json.loads(subprocess.run(build, check=True, stdout=subprocess.PIPE).stdout)
    IMAGE.write_text(json.dumps(image, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Guard, generate, then move the modules up and mend their imports."""
    write_image()
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
