"""What a training sees: photos forged on the fly and pairs of training sets, split into training and validation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch.utils.data import Dataset

from bench.training.mpc.forgeries import Forgeries, Photos, Presentation
from bench.training.mpc.pairs import Mixture, Pairs, PairSamples
from bench.training.mpc.recipe import Recipe, Stage
from bench.training.mpc.streams import PAIRS, Stream


@dataclass(frozen=True)
class Side:
    """The photos and pairs of one side of the split; one of them may be None."""

    photos: Photos | None
    pairs: Pairs | None


class TrainingData:
    """Photos and pairs with the recipe's way of presenting them.

    Attributes:
        training: what is trained on.
        validation: what is only validated on.
        digest: SHA-256 of the names of what is trained on; a resumed training must have the same.
    """

    def __init__(self, photos: Photos | None, pairs: Pairs | None, recipe: Recipe):
        self.recipe = recipe
        self.defects = photos.defects if photos else ()
        share = recipe.data.validation
        some, other = photos.split(share) if photos else (None, None)
        some_pairs, other_pairs = pairs.split(share) if pairs else (None, None)
        self.training, self.validation = Side(some, some_pairs), Side(other, other_pairs)
        names = "\n".join(file.name for file in some.files) if some else ""
        self.digest = hashlib.sha256((f"{names}\n{pairs.files}" if pairs else names).encode()).hexdigest()

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the data sets whose images are trained on; results on them mean nothing."""
        return self.training.pairs.names if self.training.pairs else ()

    def left_out(self) -> list[str]:
        """Files that cannot be trained on, and their number, in lines for the user."""
        lines = [f"left out: {file}: {problem}" for file, problem in self.defects]
        photos, other = self.training.photos, self.validation.photos
        if lines and photos is not None and other is not None:
            lines.append(f"{len(lines)} photos left out, training on the other {len(photos) + len(other)}")
        for test_set in self.training.pairs.sets if self.training.pairs else ():
            defects = test_set.defects
            lines += [f"left out: {test_set.name}/{defect.file}: {defect.problem}" for defect in defects[:5]]
            if defects:
                lines.append(f"{test_set.name}: {len(defects)} files left out")
        return lines

    def repeats(self) -> list[str]:
        """How often an epoch holds each pair of the training sets, in lines for the user."""
        pairs = self.training.pairs
        sets = zip(pairs.sets, pairs.repeats, strict=True) if pairs else ()
        return [f"{test_set.name}: each pair {repeat} times per epoch" for test_set, repeat in sets]

    def presentation(self, stage: Stage) -> Presentation:
        """How a stage presents its samples."""
        data = self.recipe.data
        return Presentation(data.frame, data.native, data.least, stage.crop, data.augment, data.parts)

    def samples(self, side: Side, stream: Stream, how: Presentation, length: int) -> Dataset:
        """A stream of samples of one side: {"image": uint8 (3, crop, crop), "mask": bool (crop, crop)}."""
        seed = (self.recipe.seed, int(stream))
        forged = Forgeries(side.photos, how, seed, length) if side.photos else None
        paired = PairSamples(side.pairs, how, (*seed, PAIRS), length) if side.pairs else None
        if forged is not None and paired is not None:
            return Mixture(forged, paired, self.recipe.data.photos, length)
        if forged is None and paired is None:
            raise ValueError("neither photos nor pairs to draw samples from")
        return forged or paired  # type: ignore[return-value]
