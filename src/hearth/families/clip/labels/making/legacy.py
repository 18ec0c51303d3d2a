"""Label vectors that the seed has cached: an npz of ``names`` and ``vecs``.

The names are pickled, and files may come from anywhere: they are not read. Whose vectors they
are is told by how many there are, and by the proof.
"""

import zipfile
from pathlib import Path

from hearth.families.clip.labels.matrices import NpyMatrix


def legacy_vectors(path: Path, count: int) -> NpyMatrix | None:
    """Open the vectors in a cache; they are to be closed.

    None where there is no such file, or one of another number of labels than ``count``, which
    is another set's. Raises whatever stands in the way.
    """
    if not path.is_file():
        return None
    with zipfile.ZipFile(path) as archive:
        # Stays readable when the archive is closed.
        file = archive.open("vecs.npy")
        try:
            vectors = NpyMatrix(file)
            if vectors.rows == count:
                return vectors
        except BaseException:
            file.close()
            raise
        file.close()
        return None
