"""MPC's losses against loops over single pixels that spell out the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.mpc.losses import VIEWS, equation_term, focal_loss, info_nce, labels_at, pixel_contrast

TEMPERATURE = 0.1


def unit(rng, count, channels=6):
    vectors = rng.normal(size=(count, channels))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def loop_released(queries, negatives):
    """Mean over the queries of -log(e^s+ / (e^s+ + sum e^s-)), s+ the mean similarity to the other queries."""
    total = 0.0
    for i, query in enumerate(queries):
        similar = [float(query @ other) for j, other in enumerate(queries) if j != i]
        positive = math.exp(sum(similar) / len(similar) / TEMPERATURE)
        negative = sum(math.exp(float(query @ other) / TEMPERATURE) for other in negatives)
        total += -math.log(positive / (positive + negative))
    return total / len(queries)


def loop_paper(anchors, positives, negatives, same):
    """Mean over the anchors of -log(mean e^s+ / sum e^s-)."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        similar = [
            math.exp(float(anchor @ other) / TEMPERATURE) for j, other in enumerate(positives) if not (same and i == j)
        ]
        negative = sum(math.exp(float(anchor @ other) / TEMPERATURE) for other in negatives)
        total += -math.log(sum(similar) / len(similar) / negative)
    return total / len(anchors)


def pixels(features, mask, image, forged):
    """Unit vectors of an image's pristine or forged pixels, the label read at the cell's first pixel."""
    _, channels, height, width = features.shape
    step = mask.shape[1] // height
    found = []
    for y in range(height):
        for x in range(width):
            if bool(mask[image, y * step, x * step]) == forged:
                vector = features[image, :, y, x].double().numpy()
                found.append(vector / np.linalg.norm(vector))
    return np.array(found).reshape(-1, channels)


@pytest.fixture
def batch():
    """Two images of 32 x 32 pixels: features at strides 4 .. 32, a second pass, a mask."""
    generator = torch.Generator().manual_seed(5)
    features = [torch.randn(2, 6, side, side, generator=generator) for side in (8, 4, 2, 1)]
    second = torch.randn(2, 6, 8, 8, generator=generator)
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[0, 4:20, 0:18] = True
    mask[1, 16:, 20:] = True
    return features, second, mask


def test_info_nce_equals_the_loop():
    rng = np.random.default_rng(0)
    queries, negatives = unit(rng, 7), unit(rng, 4)
    ours = info_nce(torch.tensor(queries), torch.tensor(negatives), TEMPERATURE)
    assert ours.item() == pytest.approx(loop_released(queries, negatives), abs=1e-9)


@pytest.mark.parametrize("same", [True, False])
def test_equation_term_equals_the_loop(same):
    rng = np.random.default_rng(1)
    anchors, negatives = unit(rng, 5), unit(rng, 6)
    positives = anchors if same else unit(rng, 3)
    ours = equation_term(*map(torch.tensor, (anchors, positives, negatives)), TEMPERATURE, exclude_self=same)
    assert ours.item() == pytest.approx(loop_paper(anchors, positives, negatives, same), abs=1e-9)


def test_released_total_is_the_sum_of_the_five_terms(batch):
    features, second, mask = batch
    images = []
    for i in range(2):
        q1, n1 = (pixels(features[0], mask, i, forged) for forged in (False, True))
        q234, n234 = (
            np.concatenate([pixels(scale, mask, i, forged) for scale in features[1:]]) for forged in (False, True)
        )
        qm, nm = (pixels(second, mask, i, forged) for forged in (False, True))
        pairs = [(q1, n1), (q1, n234), (q234, n1), (q1, nm), (qm, n1)]
        images.append([loop_released(q, n) for q, n in pairs])
    found = pixel_contrast(features, second, mask)
    assert found.images == 2
    assert found.loss.item() == pytest.approx(np.sum(images, axis=1).mean(), rel=1e-5)
    for value, expected in zip(found.terms.values(), np.mean(images, axis=0), strict=True):
        assert value == pytest.approx(expected, rel=1e-5)


def test_paper_total_is_the_sum_of_the_three_equations(batch):
    features, second, mask = batch
    images = []
    for i in range(2):
        n1, p1 = (pixels(features[0], mask, i, forged) for forged in (False, True))
        n234, p234 = (
            np.concatenate([pixels(scale, mask, i, forged) for scale in features[1:]]) for forged in (False, True)
        )
        nm, pm = (pixels(second, mask, i, forged) for forged in (False, True))
        sets = [(p1, p1, n1, True), (p1, p234, n234, False), (p1, pm, nm, False)]
        images.append([loop_paper(*parts) for parts in sets])
    found = pixel_contrast(features, second, mask, variant="paper")
    assert found.loss.item() == pytest.approx(np.sum(images, axis=1).mean(), rel=1e-5)
    assert list(found.terms) == list(VIEWS)
    for value, expected in zip(found.terms.values(), np.mean(images, axis=0), strict=True):
        assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("dropped", VIEWS)
def test_a_view_that_is_switched_off_leaves_the_others_as_they_are(batch, variant, dropped):
    features, second, mask = batch
    views = [view for view in VIEWS if view != dropped]
    whole = pixel_contrast(features, second, mask, variant=variant)
    part = pixel_contrast(features, second if "modality" in views else None, mask, variant=variant, views=views)
    kept = {name: value for name, value in whole.terms.items() if not name.startswith(dropped)}
    assert part.terms == pytest.approx(kept)
    assert part.loss.item() == pytest.approx(sum(kept.values()), rel=1e-5)
    assert len(kept) < len(whole.terms)


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_degenerate_images_contribute_nothing(batch, variant):
    features, second, mask = batch
    mixed = mask.clone()
    mixed[1] = False
    alone = pixel_contrast([f[:1] for f in features], second[:1], mask[:1], variant=variant)
    both = pixel_contrast(features, second, mixed, variant=variant)
    assert both.images == 1
    assert both.loss.item() == pytest.approx(alone.loss.item(), rel=1e-6)


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("variant", ["released", "paper"])
def test_a_batch_of_degenerate_images_has_a_zero_loss_with_a_gradient(batch, variant, value):
    features, second, mask = batch
    leaves = [f.requires_grad_() for f in features]
    found = pixel_contrast(leaves, second, torch.full_like(mask, value), variant=variant)
    found.loss.backward()
    assert (found.loss.item(), found.images, found.terms) == (0.0, 0, {})
    assert all(bool((leaf.grad == 0).all()) for leaf in leaves)


def test_one_pristine_pixel_has_no_positive_and_gives_no_nan():
    features = [torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)) for _ in range(4)]
    mask = torch.ones(1, 2, 2, dtype=torch.bool)
    mask[0, 0, 0] = False
    found = pixel_contrast(features, features[0], mask, views=("within",))
    assert (found.loss.item(), found.images) == (0.0, 0)


def test_the_gradient_is_that_of_the_loss(batch):
    features, second, mask = batch
    inputs = [f[:1].double().requires_grad_() for f in (*features, second)]

    def loss(*tensors):
        return pixel_contrast(tensors[:4], tensors[4], mask[:1]).loss.double()

    # features are brought to float32 inside, hence the coarse differences and tolerance
    assert torch.autograd.gradcheck(loss, inputs, eps=1e-2, atol=2e-2, rtol=2e-2, fast_mode=True)


def test_sampling_draws_that_many_pixels_without_replacement(monkeypatch, batch):
    features, second, mask = batch
    seen = []

    def record(queries, negatives, temperature):
        seen.append((queries, negatives))
        return queries.sum() * 0

    monkeypatch.setattr("models.mpc.losses.info_nce", record)
    draw = torch.Generator().manual_seed(3)
    pixel_contrast(features, second, mask, samples=5, generator=draw, views=("within",))
    for queries, negatives in seen:
        assert len(queries) == len(negatives) == 5
        assert len(torch.unique(queries, dim=0)) == 5
    assert not torch.equal(seen[0][0], seen[1][0])


def test_labels_are_those_of_the_first_pixel_of_each_cell():
    mask = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(2)) > 0.5
    assert torch.equal(labels_at(mask, (8, 12)), mask[:, ::4, ::4])
    assert torch.equal(labels_at(mask, (1, 1)), mask[:, :1, :1])


def test_unknown_choices_are_named(batch):
    features, second, mask = batch
    with pytest.raises(ValueError, match="unknown variant 'best'; known: released, paper"):
        pixel_contrast(features, second, mask, variant="best")
    with pytest.raises(ValueError, match="views must be some of within, scale, modality, got colour"):
        pixel_contrast(features, second, mask, views=("colour",))
    with pytest.raises(ValueError, match="second pass"):
        pixel_contrast(features, None, mask)


def test_focal_loss_equals_the_loop():
    rng = np.random.default_rng(4)
    logits, target = rng.normal(size=(2, 5, 4)) * 4, rng.random((2, 5, 4)) > 0.5
    total = 0.0
    for value, forged in zip(logits.ravel(), target.ravel(), strict=True):
        p = 1 / (1 + math.exp(-value))
        right, weight = (p, 0.3) if forged else (1 - p, 0.7)
        total += -weight * (1 - right) ** 2 * math.log(right)
    ours = focal_loss(torch.tensor(logits), torch.tensor(target), alpha=0.3, gamma=2.0)
    assert ours.item() == pytest.approx(total / logits.size, rel=1e-9)


def test_focal_loss_is_finite_with_certain_logits():
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([True, True, False, False]))
    loss.backward()
    assert loss.item() == pytest.approx(2 * 0.5 * 200 / 4)
    assert torch.isfinite(logits.grad).all()
