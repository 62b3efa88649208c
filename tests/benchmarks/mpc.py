"""Time of MPC (HRFormer-Base, 512 x 512) beside the authors' own code, and what a precision costs.

    git clone https://github.com/multimediaFor/MPC official
    pip install --no-deps --target peer einops yacs pyyaml
    PYTHONPATH=peer python tests/benchmarks/mpc.py --official official/CATNet_dataset_train/stage2 [--repeats N]

Both networks get the same random weights and the same image and take turns; a time is CPU time of one thread, the
median over the turns. Printed besides: the largest difference of the logits in float32, in units of their range, and
in bfloat16 the largest and the mean difference of the probability.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import types
from pathlib import Path

# ruff: noqa: E402 (the path and the thread limits come before the imports that they are for)
sys.path.insert(0, str(Path(__file__).parents[2]))  # runs from a clone that is not installed
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import torch

from models.device import arithmetic
from models.mpc.network import MPC


def main() -> None:
    """Take the turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, help="the folder stage2 of the authors' repository")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    official = official_network(args.official).eval()
    ours = MPC("base", "catnet").eval()
    ours.load_state_dict(official.state_dict())
    image = torch.rand(1, 3, 512, 512)
    cpu = torch.device("cpu")
    sides = {
        "authors' code, float32": lambda: official(image),
        "this suite, float32": lambda: computed(ours, image, "float32", cpu),
        "this suite, bfloat16": lambda: computed(ours, image, "bfloat16", cpu),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    outputs = {}
    with torch.inference_mode():
        for name, side in sides.items():
            outputs[name] = side()  # warms up
        for _ in range(args.repeats):
            for name, side in sides.items():
                start = time.process_time()
                side()
                seconds[name].append(time.process_time() - start)
    first, second, third = (output.float() for output in outputs.values())
    peer = statistics.median(seconds["authors' code, float32"])
    print(f"{'':<26}{'median s':>10}{'least s':>10}{'most s':>10}{'times as fast':>15}")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<26}{median:>10.3f}{min(values):>10.3f}{max(values):>10.3f}{peer / median:>15.2f}")
    print(
        f"float32: largest difference of the logits {((second - first).abs().max() / (first.max() - first.min())):.1e}"
    )
    off = (third.sigmoid() - first.sigmoid()).abs()
    print(f"bfloat16: difference of the probability, largest {off.max():.1e}, mean {off.mean():.1e}")


def computed(network: MPC, image: torch.Tensor, precision: str, device: torch.device) -> torch.Tensor:
    """Logits, computed as a run with this `--precision` does."""
    with arithmetic(precision, device):
        return network(image)


def official_network(folder: Path) -> torch.nn.Module:
    """The authors' network; of torchvision and timm it needs a name that it never uses, and two small functions."""
    layers = types.ModuleType("timm.models.layers")
    layers.to_2tuple = lambda value: value if isinstance(value, tuple) else (value, value)
    layers.trunc_normal_ = torch.nn.init.trunc_normal_
    stand_ins = {name: types.ModuleType(name) for name in ("timm", "timm.models", "torchvision", "torchvision.models")}
    stand_ins["torchvision"].models = stand_ins["torchvision.models"]
    sys.modules.update(stand_ins | {"timm.models.layers": layers})
    sys.path.insert(0, str(folder.resolve()))
    import model

    return model.MyModel()


if __name__ == "__main__":
    main()
