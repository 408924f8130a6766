"""Losses on two views without labels; focal loss for few and unbalanced labels; what shows a collapse."""

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(first: Tensor, second: Tensor, temperature: float, groups: Tensor | None = None) -> Tensor:
    """Normalised temperature-scaled cross entropy (Chen et al., ICML 2020, eq. 1), a scalar.

    first, second: projections float32 [N, D] of two views; row i of both is the same film. For each of the
    2N views the only positive is the film's other view; the negatives are the views of films of other
    groups (int64 [N], say patients; None: every film its own). The view itself is excluded: left in, its
    similarity of 1 would be the largest of its row.
    """
    n = first.shape[0]
    z = F.normalize(torch.cat([first, second]), dim=1)
    other_view = torch.arange(2 * n, device=z.device).roll(n)
    groups = torch.arange(n, device=z.device) if groups is None else groups
    groups = groups.repeat(2)
    excluded = groups.unsqueeze(0) == groups.unsqueeze(1)
    excluded = excluded.scatter(1, other_view.unsqueeze(1), value=False)
    similarity = (z @ z.T / temperature).masked_fill(excluded, float("-inf"))
    return F.cross_entropy(similarity, other_view)


def focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Binary focal loss (Lin et al., ICCV 2017, without α: sampling balances), a scalar.

    logits: [N, K]. targets: [N, K], 0 or 1, NaN where a film has no label for a finding: left out.
    """
    known = ~torch.isnan(targets)
    logits, targets = logits[known], targets[known]
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = torch.abs(targets - torch.sigmoid(logits))
    loss: Tensor = (missed**gamma * entropy).sum() / max(1, targets.numel())
    return loss


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of positives on the sphere (Wang & Isola, ICML 2020): 0 is best, 2 random."""
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean()


def uniformity(z: Tensor) -> Tensor:
    """Log mean Gaussian potential on the sphere (Wang & Isola, ICML 2020): 0 is a collapse, −4 is uniform."""
    return torch.pdist(F.normalize(z, dim=1)).square().mul(-2).exp().mean().log()
