"""Segment Anything's decoder parts against plain computations."""

import dataclasses

import numpy as np
import pytest
import torch

from models.deep.parts import sam

SIZES = sam.Sizes(width=24, depth=2, heads=2, whole=(1,))


@pytest.fixture
def loaded(random_weights):
    def make(module):
        module.load_state_dict(random_weights(module))
        return module.eval()

    return make


def test_positions_are_sines_and_cosines_of_the_frequencies(loaded):
    layer = loaded(sam.RandomPositions(256))
    place = np.array([0.25, 0.8])
    phase = 2 * np.pi * (2 * place - 1) @ layer.positional_encoding_gaussian_matrix.double().numpy()
    found = layer(torch.tensor([[0.25, 0.8]]))
    np.testing.assert_allclose(found[0], np.concatenate([np.sin(phase), np.cos(phase)]), atol=1e-5)


def test_points_become_tokens_and_map_positions_are_pixel_centres(loaded):
    prompts = loaded(sam.PromptEncoder(SIZES))
    with torch.inference_mode():
        # The middle of the 16 x 16 pixels behind one position of the map, half a pixel before which its point lies.
        tokens, dense = prompts(torch.tensor([[16 * 5 + 7.5, 16 * 40 + 7.5]]))
        positions = prompts.map_positions()
    assert tokens.shape == (1, 2, 256) and dense.shape == (1, 256, 1, 1) and positions.shape == (1, 256, 64, 64)
    torch.testing.assert_close(tokens[0, 0] - prompts.point_embeddings[1].weight[0], positions[0, :, 40, 5])
    torch.testing.assert_close(tokens[0, 1], prompts.not_a_point_embed.weight[0])


def test_attention_equals_a_loop_over_heads_and_queries(loaded):
    layer = loaded(sam.MultiHead(256, 128, 8))
    query, key, value = torch.randn(1, 3, 256), torch.randn(1, 5, 256), torch.randn(1, 5, 256)
    with torch.inference_mode():
        q, k, v = layer.q_proj(query)[0], layer.k_proj(key)[0], layer.v_proj(value)[0]
        mixed = torch.empty(3, 128)
        for head in range(8):
            part = slice(16 * head, 16 * head + 16)
            for i in range(3):
                weights = torch.stack([q[i, part] @ k[j, part] / 4 for j in range(5)]).softmax(0)
                mixed[i, part] = sum(w * v[j, part] for j, w in enumerate(weights))
        torch.testing.assert_close(layer(query, key, value)[0], layer.out_proj(mixed), atol=1e-5, rtol=1e-4)


def test_masks_of_prompts_do_not_depend_on_each_other(loaded):
    sizes = dataclasses.replace(SIZES, input_size=96)
    prompts, decoder = loaded(sam.PromptEncoder(sizes)), loaded(sam.MaskDecoder(sizes))
    features = torch.randn(1, 256, 6, 6)
    points = torch.tensor([[9.0, 19.0], [84.0, 3.0]])
    with torch.inference_mode():
        masks, iou = decoder(features, prompts.map_positions(), *prompts(points))
        alone, its_iou = decoder(features, prompts.map_positions(), *prompts(points[1:]))
    assert masks.shape == (2, 4, 24, 24) and iou.shape == (2, 4)
    torch.testing.assert_close(masks[1:], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(iou[1:], its_iou, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(masks[0], masks[1], atol=1e-2)
