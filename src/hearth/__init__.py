"""hearth: the inference node for a home or office network."""

from importlib.metadata import version

__version__ = version("hearth")
