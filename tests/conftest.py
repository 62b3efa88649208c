"""Settings for all tests: one thread a library, so that parallel test workers do not fight for the cores."""

import sys
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parent))  # tests import `shared` from here

cv2.setNumThreads(1)
