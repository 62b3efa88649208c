"""pyIFD 0.0.3's side of `classical.py`: runs in an environment of its own, where that package works.

Reads one JSON line a request, `{"method": "BLK", "file": "photo.jpg"}`, and answers with one JSON line, the CPU
seconds of that call: `{"seconds": 1.5}`, or `{"error": "..."}`.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
import time

import numpy as np

np.byte = np.uint8  # GHOST reads bytes by this name, which OpenCV 4 takes for signed numbers and refuses

FUNCTIONS = {
    "ADQ1": "detectDQ",
    "ADQ2": "getJmap",
    "BLK": "GetBlockGrid",
    "CAGI": "CAGI",
    "CFA1": "CFA1",
    "CFA2": "CFA2",
    "DCT": "DCT",
    "ELA": "ELA",
    "GHOST": "GHOST",
    "NADQ": "NADQ",
    "NOI1": "GetNoiseMap",
    "NOI2": "GetNoiseMaps",
    "NOI4": "MedFiltForensics",
    "NOI5": "PCANoise",
}


def answer(request: dict) -> dict:
    """Run one method and time it."""
    try:
        function = getattr(importlib.import_module(f"pyIFD.{request['method']}"), FUNCTIONS[request["method"]])
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            function(request["file"])
        return {"seconds": time.process_time() - start}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # ELA writes a file where it stands
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), flush=True)
