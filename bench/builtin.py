"""Moved to `bench.data.builtin`; this name stays importable for one version."""

import warnings

from bench.data.builtin import *  # noqa: F403

warnings.warn("bench.builtin has moved to bench.data.builtin", DeprecationWarning, stacklevel=2)
