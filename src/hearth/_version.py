"""The version of hearth that is installed."""

from importlib.metadata import version

__version__ = version("hearth")
