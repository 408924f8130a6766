"""What augmentations may and may not do to a radiograph."""

import numpy as np
import torch

from train.data.augment import FINETUNE, PRETRAIN, augment, plain, reequalise


def films() -> torch.Tensor:
    """A bright left half: a mirror image would be bright on the right."""
    squares = torch.full((32, 64, 64), 40, dtype=torch.uint8)
    squares[:, :, :32] = 200
    return squares


def test_shape_range_and_repeatability() -> None:
    for recipe in (PRETRAIN, FINETUNE):
        first, again = (augment(films(), 32, recipe, torch.Generator().manual_seed(5)) for _ in range(2))
        assert first.shape == (32, 1, 32, 32)
        assert first.dtype == torch.float32
        assert first.min() >= 0
        assert first.max() <= 1
        assert torch.equal(first, again)
        assert not torch.equal(first[0], first[1])


def test_no_mirror_image() -> None:
    x = augment(films(), 64, FINETUNE, torch.Generator().manual_seed(0))
    left, right = x[..., 8:24].mean((1, 2, 3)), x[..., 40:56].mean((1, 2, 3))
    assert (left > right).all()


def test_a_nodule_survives_fine_tuning_augmentation() -> None:
    squares = torch.full((64, 224, 224), 80, dtype=torch.uint8)
    squares[:, 105:117, 108:120] = 200
    x = augment(squares, 224, FINETUNE, torch.Generator().manual_seed(1))
    middle = x[:, 0].flatten(1)
    assert (middle.amax(1) - middle.median(1).values > 0.15).all()


def test_plain_changes_nothing_at_its_own_size() -> None:
    squares = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    assert torch.equal((plain(squares, 32) * 255).round().to(torch.uint8).squeeze(1), squares)


def test_reequalise_leaves_the_input_alone() -> None:
    squares = torch.from_numpy(np.random.default_rng(0).integers(0, 90, (8, 64, 64), dtype=np.uint8))
    before = squares.clone()
    out = reequalise(squares, 1.0, np.random.default_rng(0))
    assert torch.equal(squares, before)
    assert (out != squares).any((1, 2)).all()
    assert torch.equal(reequalise(squares, 0.0, np.random.default_rng(0)), squares)
