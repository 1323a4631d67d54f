"""Heads learn from grids, per image or per position, and ignore the padding outside the image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pipeline.probe.fitting import Grids, answers, fit, random_crop, together
from pipeline.probe.heads import IGNORED, ClassHead, DenseHead, Trunk


def grids(count: int, seed: int = 0) -> list[Grids]:
    """Grids of several sizes, of 6 channels."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 8, (count, 2))
    return [(rng.normal(size=(*size, 6)) * [1, 100, 1, 1, 0.01, 1]).astype(np.float32) for size in sizes]


def test_a_class_head_learns_what_a_channel_means_whatever_its_scale() -> None:
    def examples(count: int, seed: int) -> list[tuple[Grids, Any]]:
        labelled = [(grid, seed % 3) for seed, grid in enumerate(grids(count, seed))]
        return [((grid + np.eye(6)[4] * 0.02 * (label - 1)).astype(np.float32), label) for grid, label in labelled]

    torch.manual_seed(0)
    head = ClassHead(Trunk(6, 16, 1, 0.0), 3)
    fit(head, examples(96, 0), epochs=30, seed=0)
    unseen = examples(60, 1)
    assert (answers(head, unseen) == [label for _, label in unseen]).mean() > 0.9


def test_a_dense_head_learns_a_label_a_position_and_passes_over_those_without() -> None:
    def examples(count: int, seed: int) -> list[tuple[Grids, Any]]:
        found: Sequence[tuple[Grids, Any]] = [(g, (g[..., 1] > 0).astype(np.int64)) for g in grids(count, seed)]
        for _, target in found:
            target[0, 0] = IGNORED
        return list(found)

    torch.manual_seed(0)
    head = DenseHead(Trunk(6, 16, 1, 0.0), 2)
    fit(head, examples(96, 0), epochs=20, seed=0)
    batch = together(examples(20, 1))
    right = head(batch.grids, batch.inside).argmax(-1) == batch.target
    assert right[batch.target != IGNORED].float().mean() > 0.9


def test_what_is_around_a_padded_image_changes_nothing() -> None:
    torch.manual_seed(0)
    small = grids(1)[0][:3, :3]
    for head in (ClassHead(Trunk(6, 8, 2, 0.0, 1), 3), DenseHead(Trunk(6, 8, 2, 0.0), 3)):
        for layer in (*head.trunk.blocks, *head.trunk.narrow):
            torch.nn.init.normal_(layer.project.weight)
        head.eval()
        alone, padded = together([(small, 0)]), together([(small, 0), (np.zeros((9, 9, 6), np.float32), 0)])
        with torch.inference_mode():
            answer, other = head(alone.grids, alone.inside)[0], head(padded.grids, padded.inside)[0]
        assert torch.allclose(answer, other if answer.ndim == 1 else other[:3, :3], atol=1e-5)


def test_a_piece_of_a_dense_example_takes_its_labels_along() -> None:
    rng = np.random.default_rng(0)
    for grid in grids(20):
        part, target = random_crop((grid, (grid[..., 0] > 0).astype(int)), rng)
        assert np.array_equal(part[..., 0] > 0, target == 1)
        assert all(a <= b for a, b in zip(part.shape, grid.shape, strict=True))


def test_multiply_adds_count_the_layers_at_their_own_positions() -> None:
    def block(width: int) -> int:
        return 9 * width + width * 2 * width + width * width

    assert Trunk(10, 8, 1, 0.0).multiply_adds(20) == 20 * (10 * 8 + block(8))
    assert Trunk(10, 8, 1, 0.0, 1).multiply_adds(20) == 20 * (10 * 4 + block(4)) + 5 * (16 * 8 + block(8))
