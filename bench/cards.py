"""Moved to `bench.data.cards`; this name stays importable for one version."""

import warnings

from bench.data.cards import *  # noqa: F403

warnings.warn("bench.cards has moved to bench.data.cards", DeprecationWarning, stacklevel=2)
