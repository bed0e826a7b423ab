"""TOPIS: an open traffic signal control engine."""

from importlib.metadata import version

__version__ = version("topis")
