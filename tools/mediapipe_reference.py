"""Write tests/references/mediapipe/*.json: what mediapipe 0.10.21's ``mp.solutions`` answer.

    tools/mediapipe_reference.py [TASK …] [--check]

The package pins protobuf and numpy to versions that hearth can't live with, so it gets an
environment of its own, build/mediapipe-venv, made when it is first needed; in there
_mediapipe_answers.py does the work. Python 3.11 or 3.12 on x86-64: that version has wheels
for little else.

The pictures come from tests/kits/reference_kit.py. Each is seen by two fresh graphs, whose largest
difference is kept as ``repeats_within``, the noise below which no comparison means anything;
and twice in a row by one graph, which should change nothing but does for Holistic's hands
(``carried_over``). ``--check`` writes nothing, and exits 1 where an answer is another than the
one kept.

Points are pixels (as many decimals as mean something), z in the same unit; world points are
metres. Where mediapipe tells no side the names are the subject's, as its documentation says.
A detected face's keypoints are right eye, left eye, nose, mouth, right ear and left ear. ``iris``
is from refine_landmarks, another model (with attention) than iris_landmark.tflite: a second
opinion, not the same figures. Holistic's face is without it. ``label`` of a hand is mediapipe's
word, which takes every picture for a mirrored one; ``side`` is the subject's in a photograph
that isn't: the other one.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "mediapipe-venv"
PYTHON = VENV / "bin" / "python"
PACKAGES = ("mediapipe==0.10.21", "numpy==1.26.4", "scikit-image==0.26.0")


def interpreter() -> Path:
    """Find the Python that has mediapipe, installed first if need be."""
    done = VENV / ".done"
    if not done.is_file() or done.read_text() != "\n".join(PACKAGES):
        if sys.version_info[:2] not in ((3, 11), (3, 12)):
            raise SystemExit("mediapipe 0.10.21 needs Python 3.11 or 3.12: run this with one")
        print(f"installing {', '.join(PACKAGES)} into {VENV} (a minute or two)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--quiet"]
        subprocess.run([*pip, *PACKAGES], check=True)
        done.write_text("\n".join(PACKAGES))
    return PYTHON


def main() -> int:
    """Set up, hand over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="names of files; all")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    chosen = parser.parse_args()
    surroundings = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "tests" / "kits"),
        "GLOG_minloglevel": "2",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    script = Path(__file__).with_name("_mediapipe_answers.py")
    command = [interpreter(), script, *chosen.tasks, "check" if chosen.check else "write"]
    return subprocess.run(command, env=surroundings, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
