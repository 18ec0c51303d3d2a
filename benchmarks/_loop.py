"""The bare loop that overhead.py compares with: decode, prepare, run the session; no server.

``_loop.py FOLDER COUNT BATCH ROUNDS`` prints the CPU microseconds for each image of each round.
"""

import sys
import time
from pathlib import Path

import numpy as np

from _models import jpegs
from hearth.media.images import ImageReader
from hearth.models.clip.files import OnnxFiles
from hearth.settings import ClipSettings


def main() -> None:
    """Run the rounds after one to warm up."""
    folder, count, batch, rounds = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    parts = OnnxFiles.in_folder(folder, folder.name).load(ClipSettings())
    transform, session = parts.transform, parts.image
    reader = ImageReader(2**27)
    pictures = jpegs(count)
    for turn in range(rounds + 1):
        before = time.process_time()
        for start in range(0, count, batch):
            images = [
                transform.prepare(reader.read(picture, at_least=transform.at_least))
                for picture in pictures[start : start + batch]
            ]
            session.run({session.inputs[0].name: np.stack(images)})
        if turn:
            print((time.process_time() - before) / count * 1e6, flush=True)


if __name__ == "__main__":
    main()
