"""Test sets: their cards, the built-in set, and the pairing of images with masks."""

from bench.data.files import DataError
from bench.data.pairing import open_builtin, open_card, open_folder
from bench.data.sets import Defect, Sample, TestSet
from bench.data.spec import describe, find_card, open_test_sets

__all__ = [
    "DataError",
    "Defect",
    "Sample",
    "TestSet",
    "describe",
    "find_card",
    "open_builtin",
    "open_card",
    "open_folder",
    "open_test_sets",
]
