"""The ingredients of fine-tuning, and how each is left out, to see what it is worth."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from screen.errors import UsageError
from train.settings import FinetuneSettings

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
