"""The losses against slow references in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from train.network.losses import alignment, focal, nt_xent, uniformity


def slow_nt_xent(
    first: NDArray[np.float64], second: NDArray[np.float64], temperature: float, groups: list[int]
) -> float:
    """Chen et al. 2020, equation 1, term by term: l(i, j) = −log exp(s_ij / τ) / Σ_{k≠i} exp(s_ik / τ).

    The sum leaves out what is of i's group and not i's other view.
    """
    z = np.concatenate([first, second])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    n, total = len(first), 0.0
    for i in range(2 * n):
        positive = (i + n) % (2 * n)
        summed = [k for k in range(2 * n) if k == positive or groups[k % n] != groups[i % n]]
        others = [math.exp(z[i] @ z[k] / temperature) for k in summed]
        total -= math.log(math.exp(z[i] @ z[positive] / temperature) / sum(others))
    return total / (2 * n)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 9),
    width=st.integers(2, 16),
    temperature=st.sampled_from([0.05, 0.1, 0.2, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_nt_xent_equals_the_reference(n: int, width: int, temperature: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(2, n, width))
    fast = nt_xent(torch.from_numpy(first), torch.from_numpy(second), temperature).item()
    assert fast == pytest.approx(slow_nt_xent(first, second, temperature, list(range(n))), rel=1e-9, abs=1e-9)
    groups = generator.integers(0, 3, n)
    fast = nt_xent(*map(torch.from_numpy, (first, second)), temperature, torch.from_numpy(groups)).item()
    assert fast == pytest.approx(
        slow_nt_xent(first, second, temperature, groups.tolist()), rel=1e-9, abs=1e-9
    )


def test_nt_xent_wants_the_other_view_and_not_the_view_itself() -> None:
    # Four films on four axes. Were the positive the view itself, swapping the second views would not matter.
    first = torch.eye(4, dtype=torch.float64)
    matched, mismatched = nt_xent(first, first, 0.1), nt_xent(first, first.roll(1, 0), 0.1)
    assert matched < 0.01
    assert mismatched > 5


def test_nt_xent_sees_both_directions() -> None:
    first, second = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert nt_xent(first, second, 0.2).item() == pytest.approx(nt_xent(second, first, 0.2).item(), rel=1e-12)
    first.requires_grad_()
    second.requires_grad_()
    nt_xent(first, second, 0.2).backward()
    assert first.grad is not None and first.grad.abs().min() > 0
    assert second.grad is not None and second.grad.abs().min() > 0


def test_focal_without_focus_is_cross_entropy_and_leaves_unknown_labels_out() -> None:
    logits = torch.tensor([[0.3], [-1.2], [2.0]])
    targets = torch.tensor([[1.0], [0.0], [float("nan")]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:2], targets[:2])
    assert focal(logits, targets, 0.0).item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_gives_easy_films_less() -> None:
    easy, hard = torch.tensor([[3.0]]), torch.tensor([[-3.0]])
    one = torch.tensor([[1.0]])
    ratio = focal(easy, one, 2.0) / focal(easy, one, 0.0)
    assert ratio.item() == pytest.approx((1 - torch.sigmoid(easy).item()) ** 2, rel=1e-5)
    assert focal(hard, one, 2.0) / focal(hard, one, 0.0) > 0.9


def test_a_collapse_shows() -> None:
    same = torch.ones(16, 8)
    assert alignment(same, same).item() == pytest.approx(0)
    assert uniformity(same).item() == pytest.approx(0, abs=1e-5)
    assert uniformity(torch.randn(64, 64, generator=torch.Generator().manual_seed(0))).item() < -3
