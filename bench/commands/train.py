"""Train a localizer: `python -m bench train mpc --photos DIR --out DIR`, or fit one: `python -m bench train fusion`.

`--help` after the localizer's name lists its options.
"""

from __future__ import annotations

import argparse
import importlib

TRAINERS = {"mpc": "bench.training.mpc.train", "fusion": "bench.training.fusion"}  # imported only when asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench train`: the localizer's name; what follows it is the localizer's own."""
    parser.add_argument("model", choices=tuple(TRAINERS), help="localizer to train")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="its options; --help lists them")


def main(args: argparse.Namespace) -> int:
    """Exit code of the localizer's own training."""
    trainer = importlib.import_module(TRAINERS[args.model])
    parser = argparse.ArgumentParser(
        prog=f"python -m bench train {args.model}",
        description=(trainer.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    trainer.add_arguments(parser)
    return trainer.main(parser.parse_args(args.options))
