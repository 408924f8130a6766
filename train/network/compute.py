"""How a recipe is computed, which is no part of it: rounding apart, the weights are the same."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from screen.errors import UsageError


@dataclass(frozen=True, slots=True)
class Compute:
    """bf16: autocast of the forward pass; losses, augmentation and weights stay float32. compiled:
    torch.compile.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    bf16: bool = False
    compiled: bool = False

    @classmethod
    def choose(
        cls, device: str = "auto", precision: str = "auto", compiled: bool | None = None, world: int = 1
    ) -> "Compute":
        """What is fast on `device` (`auto`, `cpu`, `cuda`), where `precision` and `compiled` leave it open.

        bf16 is, on CUDA and on processors that multiply it (others imitate it): three to four times as fast
        with AMX tiles, twice with AVX-512 BF16. Raises UsageError for a device that is not there, and for
        compiling where several processes work: the compiler does not follow BatchNorm through them.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        on_cuda = device == "cuda"
        if on_cuda and not torch.cuda.is_available():
            raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
        if compiled and world > 1:
            raise UsageError("--compile works with one process only: leave it out under torchrun")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        return cls(
            torch.device("cuda", local) if on_cuda else torch.device("cpu"),
            bf16=precision == "bf16" or (precision == "auto" and (on_cuda or _multiplies_bf16())),
            compiled=world == 1 and on_cuda if compiled is None else compiled,
        )

    def autocast(self) -> torch.autocast:
        """For forward passes: bf16 where it was chosen."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def described(self, world: int = 1) -> dict[str, object]:
        """For the provenance."""
        precision = "bf16" if self.bf16 else "fp32"
        return {
            "device": self.device.type,
            "precision": precision,
            "compiled": self.compiled,
            "processes": world,
        }


def _multiplies_bf16() -> bool:
    # Newer than the oldest torch that is supported; one without it cannot say, so it is not relied on.
    capabilities: Callable[[], dict[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    here = capabilities()
    return bool(here.get("amx_bf16") or here.get("avx512_bf16"))


CPU = Compute()


def learning_rate(step: int, steps: int, warm_up: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to nothing (Loshchilov & Hutter, ICLR 2017)."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
