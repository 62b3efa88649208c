"""Moved to `bench.data.forge`; this name stays importable for one version."""

import warnings

from bench.data.forge import *  # noqa: F403

warnings.warn("bench.forge has moved to bench.data.forge", DeprecationWarning, stacklevel=2)
