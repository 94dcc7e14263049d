"""The names that Slicer knows: read from its source once, committed as names.json, and what is held against them."""

from .table import NAMES, Names, QtClass

__all__ = ["NAMES", "Names", "QtClass"]
