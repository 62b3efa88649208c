"""What the tests of the published networks share."""

import numpy as np
import pytest
import torch

import models
from models.deep.mmfusion import CHECKPOINT_KEYS
from models.image import ForensicImage
from models.network import without_memory


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_random_tensors():
    torch.manual_seed(0)


def _photo(height: int, width: int, grey: bool = False) -> ForensicImage:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 1 if grey else 3), dtype=np.uint8)
    return ForensicImage(np.repeat(rgb, 3, axis=2) if grey else rgb)


def _random_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            state[name] = torch.zeros(value.shape, dtype=value.dtype)
        elif name.endswith(("running_var", "sigma_F")) or (value.ndim == 1 and name.endswith("weight")):
            state[name] = 0.5 + torch.rand(value.shape, generator=generator)
        else:
            fan_in = max(1, value[0].numel()) if value.ndim > 1 else 25
            state[name] = torch.randn(value.shape, generator=generator) / fan_in**0.5
    return state


@pytest.fixture
def photo():
    """Maker of a noise image without JPEG bytes: (height, width, grey=False)."""
    return _photo


@pytest.fixture
def random_weights():
    """Maker of a state dict for a network, which may be on the meta device; normalizations get positive scales."""
    return _random_weights


@pytest.fixture
def tiny(monkeypatch):
    """Maker of a network of a localizer by name, on the meta device; from then on `models.build` builds it tiny."""

    def make(name: str) -> torch.nn.Module:
        localizer = models.find(name)
        full = localizer.make_network
        monkeypatch.setattr(localizer, "make_network", getattr(full, "tiny", full))
        return without_memory(localizer.make_network)

    return make


@pytest.fixture
def tiny_weights(tiny, random_weights):
    """Maker of weights for a tiny network by a localizer's name, as `models.build` takes them."""

    def make(name: str) -> dict:
        network = tiny(name)
        if name == "mmfusion":
            return {key: random_weights(part) for key, part in zip(CHECKPOINT_KEYS, network.children(), strict=True)}
        return random_weights(network)

    return make
