"""What a fine-tuning is told, and how each of its ingredients is left out, to see what it is worth."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from screen.errors import UsageError


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """One recipe.

    head_alone: the network stays as pre-training left it, and its head is fitted by a regression
    (`train.network.head`); else its layers learn too, as the fields from `stages` on say. shrinkage: of the
    regression. balanced: films count, or are drawn, by `sampling_weights`, else as they come. doubt: films
    whose label readers contradict are passed over.
    stages: (epochs, side of the input, number of trainable parts), in order; the parts are, from the head
    down: fc, layer4, layer3, layer2, layer1 with the stem. From random weights all of them learn throughout.
    The last side is that of the squares that the network is for.
    decay: each part learns this much slower than the one above it. average: per-step decay of the weight
    average that is kept (0: none).
    side: weight of the side findings in the loss, each of them a head that is thrown away in the end: what
    else is on a film says more about it than one bit does. samples: films drawn an epoch, but no film is
    drawn more than twice on average: few labels are learned in few steps.
    few: with fewer films with the finding than this the head alone is fitted, if there was pre-training: so
    few would destroy more of what it found than they can add.
    cells: weight of what is known of single places: none holds the finding on a film without it, those in a
    reader's box do. planted: films with lesions drawn into them beside each batch, for the same purpose.
    whole: the film as a whole is judged beside its single cells: alone, and with them.
    way: how much of the way from pre-training's weights to fine-tuning's is gone in the end, 0 … 1: what few
    labels teach is noisy, and two runs differ much less halfway than at their ends (WiSE-FT, Wortsman et al.,
    CVPR 2022). From random weights it is all of the way.
    augmented: every film is seen another way each time.
    """

    head_alone: bool = False
    shrinkage: float = 10_000.0
    balanced: bool = True
    doubt: bool = True
    stages: tuple[tuple[int, int, int], ...] = ((1, 224, 2), (3, 224, 4))
    samples: int = 4096
    batch_size: int = 32
    few: int = 150
    cells: float = 1.0
    planted: int = 8
    learning_rate: float = 1e-3
    decay: float = 0.7
    weight_decay: float = 1e-3
    gamma: float = 1.5
    side: float = 1.0
    average: float = 0.99
    whole: bool = True
    way: float = 0.5
    augmented: bool = True
    seed: int = 0
    mean: float = 0.5
    std: float = 0.25

    def at(self, size: int) -> "FinetuneSettings":
        """The same for squares of that side, pixels."""
        return replace(self, stages=tuple((epochs, size, parts) for epochs, _, parts in self.stages))


EVERY_PART = 5
"""Of the network: head, layer4, layer3, layer2, layer1 with the stem."""


def _unfrozen(settings: FinetuneSettings) -> FinetuneSettings:
    return replace(settings, stages=tuple((epochs, size, EVERY_PART) for epochs, size, _ in settings.stages))


Ingredients = Mapping[str, Callable[[FinetuneSettings], FinetuneSettings]]
"""By name, what the recipe is without it."""

_OF_BOTH: Ingredients = {
    "balance": lambda settings: replace(settings, balanced=False),
    "doubt": lambda settings: replace(settings, doubt=False),
}

OF_HEAD: Ingredients = {
    **_OF_BOTH,
    "shrinkage": lambda settings: replace(settings, shrinkage=1.0),
}
"""Where the head alone is fitted."""

OF_LAYERS: Ingredients = {
    **_OF_BOTH,
    "augmentation": lambda settings: replace(settings, augmented=False),
    "drawn-lesions": lambda settings: replace(settings, planted=0),
    "focal-loss": lambda settings: replace(settings, gamma=0.0),
    "halfway": lambda settings: replace(settings, way=1.0),
    "layer-rates": lambda settings: replace(settings, decay=1.0),
    "places": lambda settings: replace(settings, cells=0.0, planted=0),
    "side-findings": lambda settings: replace(settings, side=0.0),
    "unfreezing": _unfrozen,
    "weight-average": lambda settings: replace(settings, average=0.0),
    "whole-film": lambda settings: replace(settings, whole=False),
}
"""Where layers learn. Drawn lesions teach places alone, so they go with these."""


def left_out(settings: FinetuneSettings, names: Iterable[str]) -> FinetuneSettings:
    """The recipe without those ingredients; UsageError if it has no such one."""
    known, elsewhere = (OF_HEAD, OF_LAYERS) if settings.head_alone else (OF_LAYERS, OF_HEAD)
    for name in names:
        if name not in known:
            hint = f"; {name} is one {'without' if settings.head_alone else 'with'} --head-alone"
            raise UsageError(
                f"there is no ingredient '{name}' here, but {', '.join(known)}"
                + (hint if name in elsewhere else "")
            )
        settings = known[name](settings)
    return settings
