"""Moved to `models.image`; this name stays importable for one version."""

import warnings

from models.image import *  # noqa: F403

warnings.warn("bench.image has moved to models.image", DeprecationWarning, stacklevel=2)
