"""Several processes, one batch (`torchrun --nproc-per-node N -m train pretrain …`).

Every process has an equal part of each batch, and all of them compute what one process with the whole batch
would: features are gathered before the loss, BatchNorm takes the whole batch's statistics, gradients are
averaged. With one process nothing here does anything.

Each process computes the whole loss from all features, and sends back through its own features alone. Its
gradient is scaled by the number of processes, so that the average over processes is the batch's gradient.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

_PATIENCE = timedelta(hours=12)
"""How long the others wait for the first, which reads the films. torchrun ends them all if one dies."""


@dataclass(frozen=True, slots=True)
class Part:
    """Of every batch, what one process has: number `rank` of `world` equal ones, as consecutive rows."""

    rank: int = 0
    world: int = 1

    def rows(self, n: int) -> slice:
        """Its rows of a batch of `n`, which `world` divides."""
        each = n // self.world
        return slice(self.rank * each, (self.rank + 1) * each)


WHOLE = Part()


@contextmanager
def team() -> Iterator[Part]:
    """Join the processes that torchrun started, if it did: nccl for CUDA's tensors, gloo for a CPU's."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield WHOLE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Part(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def first_goes_first(part: Part) -> Iterator[None]:
    """The first process alone, then the others: what it has written they find."""
    if part.world > 1 and part.rank > 0:
        _meet()
    yield
    if part.world > 1 and part.rank == 0:
        _meet()


def _meet() -> None:
    """Wait until every process is here. A CPU's tensor, so that no card is chosen for it."""
    dist.all_reduce(torch.zeros(1))


def gather(x: Tensor, part: Part) -> Tensor:
    """[n, D] of each process -> [n · world, D], the whole batch in its order, with gradients."""
    if part.world == 1:
        return x
    gathered: Tensor = _Gather.apply(x, part)  # type: ignore[no-untyped-call]
    return gathered


def average_gradients(parameters: Iterable[nn.Parameter], part: Part) -> None:
    """Replace every gradient by the mean over the processes."""
    if part.world == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(together)
    together /= part.world
    means = torch.split(together, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def share_statistics(module: nn.Module, part: Part) -> None:
    """Let every BatchNorm in `module`, in place, take its statistics from the whole batch."""
    if part.world == 1:
        return
    for child in module.modules():
        for name, layer in list(child.named_children()):
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(child, name, _SharedBatchNorm(layer, part.world))


class _SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over all processes; parameters and statistics are those of the layer that it replaces.

    torch's own SyncBatchNorm refuses to run on a CPU, where this can be tested.
    """

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, world: int) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.world = world

    def _check_input_dim(self, input: Tensor) -> None:
        """Two dimensions (BatchNorm1d) and four are both welcome."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C] or [N, C, H, W], the same out."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        others = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = self.world * x.numel() // x.shape[1]
        mean: Tensor = _Sum.apply(x.sum(others)) / count  # type: ignore[no-untyped-call]
        centred = x - mean.view(shape)
        variance: Tensor = _Sum.apply(centred.square().sum(others)) / count  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(input.dtype)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Part) -> Tensor:
        ctx.part = part
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(part.world)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient[ctx.part.rows(len(gradient))] * ctx.part.world, None


class _Sum(torch.autograd.Function):
    """Over all processes. All of them use the sum, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
