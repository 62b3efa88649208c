"""Trainings in the tests' own process are of a network smaller than "tiny": what is tested is the training, not it."""

import pytest

from models.mpc.backbone import VARIANTS, Variant


@pytest.fixture(scope="module", autouse=True)
def toy_backbone():
    """A module per stage, a block per module, narrow branches: checkpoints of few tensors, which load in a moment."""
    toy = Variant(channels=(6, 12, 24, 48), heads=(1, 2, 4, 8), modules=(1, 1, 1), blocks=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "tiny", toy)
        yield
