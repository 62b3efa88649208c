"""Train a localizer: `python -m bench train mpc --stage contrast|head|both --photos DIR --out DIR`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m bench train`: the localizer's name, then its own."""
    from models.mpc import train

    parser.add_argument("model", choices=("mpc",), help="localizer to train")
    train.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Exit code of the localizer's own training."""
    from models.mpc import train

    return train.main(args)
