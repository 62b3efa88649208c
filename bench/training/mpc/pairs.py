"""Training sets: the tampered images of published sets with their masks, each as often as its card says.

    --data casia2:ROOT,tampcoco:ROOT,imd2020:ROOT          as `bench run --data`; a card's role must allow training

An epoch holds each pair `repeat` times in an order that the seed draws, as in MPC's released script with its factors
40 for CASIA v2, 20 for IMD2020 and 1 for tampCOCO.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from bench.data import Sample, TestSet, open_test_sets
from bench.training.mpc.forgeries import Presentation, as_tensors, present
from models.image import ImageError, read_image

log = logging.getLogger(__name__)

ATTEMPTS = 100  # pairs tried instead of an unreadable one before the training is given up


class PairError(ValueError):
    """Training sets that cannot be trained on; the message names the set and the fix."""


@dataclass(frozen=True)
class Pairs:
    """Tampered images with their masks.

    Some 100,000 pairs are kept as arrays, which worker processes share, and not as objects, which each of them would
    copy by touching them.

    Attributes:
        sets: where the pairs are from, without their samples.
        repeats: of each set per epoch.
        images: paths as byte strings, (n,).
        masks: paths as byte strings, (n,).
        owners: each pair's index in `sets`, (n,).
        sources: 64-bit hash of the photo that a pair came from, (n,).
        files: digest of all names.
    """

    sets: tuple[TestSet, ...]
    repeats: tuple[int, ...]
    images: np.ndarray
    masks: np.ndarray
    owners: np.ndarray
    sources: np.ndarray
    files: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sets, sorted: results of a network trained on them mean nothing on these."""
        return tuple(sorted(test_set.name for test_set in self.sets))

    @functools.cached_property
    def epoch(self) -> np.ndarray:
        """Indices of the pairs of an epoch, each as often as its set is repeated, not shuffled."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.array(self.repeats)[self.owners])

    def split(self, share: float) -> tuple[Pairs, Pairs]:
        """(training, validation): about `share` of the source photos validate, with all their forgeries.

        The side is chosen by a hash of the photo's name, so a photo stays on its side when others are added.

        Raises:
            PairError: there is only one source photo.
        """
        sources = np.unique(self.sources)
        if len(sources) < 2:
            raise PairError(
                "the training sets hold forgeries of one photo only; at least two are needed, one for validation"
            )
        count = min(max(1, round(share * len(sources))), len(sources) - 1)
        validation = np.isin(self.sources, sources[:count])
        return self._some(~validation), self._some(validation)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image, uint8 (H, W, 3) RGB, and mask, bool (H, W).

        Raises:
            ImageError: one of them cannot be read.
        """
        image, mask = (Path(os.fsdecode(paths[index])) for paths in (self.images, self.masks))
        test_set = self.sets[self.owners[index]]
        rgb = read_image(image).rgb
        return rgb, test_set.read_mask(Sample(image.stem, image, mask, test_set.name))

    def _some(self, chosen: np.ndarray) -> Pairs:
        columns = {name: getattr(self, name)[chosen] for name in ("images", "masks", "owners", "sources")}
        return dataclasses.replace(self, **columns)


def open_pairs(spec: str) -> Pairs:
    """The tampered images of the sets that a `--data` text names.

    Raises:
        PairError: a set is for testing only or has no tampered image.
        DataError, CardError: a set cannot be opened.
    """
    sets = open_test_sets(spec)
    for test_set in sets:
        if test_set.name == "builtin" or (test_set.card is not None and test_set.card.role == "test"):
            raise PairError(
                f"{test_set.name} is a test set: nothing measured on it would mean anything for a network that was "
                'trained on it; take a set whose card says role = "train" or "both" (python -m bench list data)'
            )
        if not test_set.tampered:
            raise PairError(f"{test_set.name} holds no tampered image with a mask; name its folder of masks too")
    samples = [(owner, sample) for owner, test_set in enumerate(sets) for sample in test_set.tampered]
    repeats = tuple(test_set.card.repeat if test_set.card else 1 for test_set in sets)
    files = hashlib.sha256()
    for owner, sample in samples:
        files.update(f"{sets[owner].name} {repeats[owner]} {sample.id}\n".encode())
    sources = [hashlib.sha256(f"{sample.test_set}/{sample.source}".encode()).digest()[:8] for _, sample in samples]
    return Pairs(
        tuple(dataclasses.replace(test_set, samples=[]) for test_set in sets),
        repeats,
        np.array([os.fsencode(sample.image) for _, sample in samples]),
        np.array([os.fsencode(sample.mask) for _, sample in samples if sample.mask is not None]),
        np.array([owner for owner, _ in samples], np.int16),
        np.frombuffer(b"".join(sources), np.uint64),
        files.hexdigest(),
    )


class PairSamples(Dataset):
    """A stream of samples as `forgeries.Forgeries` gives them, from pairs: epoch after epoch, each shuffled anew.

    A pair that cannot be read is replaced by the next one that can; each process names it once.
    """

    def __init__(self, pairs: Pairs, presentation: Presentation, seed: tuple[int, ...], length: int):
        """The first `length` samples of the stream that `seed` names."""
        self.pairs, self.presentation, self.seed, self.length = pairs, presentation, seed, length
        self._order: tuple[int, np.ndarray] = (-1, pairs.epoch)
        self._named: set[str] = set()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(f"sample {index} of {self.length}")
        cv2.setNumThreads(1)
        rgb, mask = self._read(index)
        return as_tensors(*present(rgb, mask, self.presentation, np.random.default_rng([*self.seed, index])))

    def pair(self, index: int) -> int:
        """The index of the pair that sample `index` shows."""
        epoch, position = divmod(index, len(self.pairs.epoch))
        if self._order[0] != epoch:
            order = np.random.default_rng([*self.seed, epoch, 1]).permutation(self.pairs.epoch)
            self._order = (epoch, order)
        return int(self._order[1][position])

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        for attempt in range(ATTEMPTS):
            try:
                return self.pairs.read(self.pair(index + attempt))
            except ImageError as error:
                problem = str(error)
                if problem not in self._named:
                    self._named.add(problem)
                    log.warning("left out: %s", problem)
        raise PairError(f"{ATTEMPTS} pairs in turn could not be read, the last: {problem}")


class Mixture(Dataset):
    """Two streams in one: of the first n samples, round(n * share) are from the first stream, for every n."""

    def __init__(self, first: Dataset, second: Dataset, share: float, length: int):
        """A mixture of `length` samples; share: of the first stream."""
        self.parts: Sequence[Dataset] = (first, second)
        self.share, self.length = share, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(f"sample {index} of {self.length}")
        before, after = (int(np.floor(n * self.share + 0.5)) for n in (index, index + 1))
        return self.parts[0][before] if after > before else self.parts[1][index - before]
