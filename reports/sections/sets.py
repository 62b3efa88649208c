"""The test sets: how many images, of what fingerprint, what the audit says, and the defects that were left out."""

from __future__ import annotations

from reports.comparison import Comparison
from reports.view import TestSet

ORDER = 50
TITLE = "Test sets"
SHORT = "Test sets"


def context(comparison: Comparison) -> dict:
    """Each set with the sentences of its audit."""
    return {"sets": [(test_set, audit(test_set)) for test_set in comparison.test_sets]}


def audit(test_set: TestSet) -> list[str]:
    """The verdict of `bench data audit` as sentences, [] where none was made."""
    verdict = test_set.audit
    if not verdict:
        return []
    if isinstance(verdict, str):
        return [verdict]
    if isinstance(verdict, dict):
        return [
            f"{str(key).replace('_', ' ')}: {value}"
            for key, value in verdict.items()
            if value not in (None, "", [], ())
        ]
    return [str(sentence) for sentence in verdict]
