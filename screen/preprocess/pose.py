"""Which way up a film lies and whether its greys are inverted: judged on a thumbnail, before CLAHE.

A scorer, one hidden layer from 24 × 24 pixels to a number, says how much a picture looks like a chest film as
it should be. It is asked about all eight poses of the thumbnail (four quarter turns, either polarity); the
softmax over its answers is how likely each is the right one. So a film that is turned or inverted turns the
answer with it, exactly, and nothing has to be learnt eight times. `train.recipes.fit_pose` fits the scorer.

Its parameters lie in the package; their digest, thresholds included, is part of a preprocessing spec.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from screen.files import whole_file

THUMBNAIL = 24
"""Side of what the scorer sees, pixels. The film's aspect is not kept: it says nothing about its pose."""
PARAMETERS = Path(__file__).parent.with_name("models") / "judge.npz"
INVERTED_FROM = 0.9
TURNED_FROM = 0.95
"""Probabilities from which the film is said to be inverted, or turned."""

_IMPLEMENTATION = 1
"""Part of the digest: raise it when the code below gives other answers for the same parameters."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How a film differs from one that is upright and has bone bright."""

    inverted: bool = False
    on_its_side: bool = False
    upside_down: bool = False


UPRIGHT = Pose()


@dataclass(frozen=True, slots=True)
class Judge:
    """score = relu(x @ weights + bias) @ head, with weights [T², H], bias and head [H], float32."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    head: NDArray[np.float32]

    def probabilities(self, content: NDArray[np.uint8]) -> NDArray[np.float64]:
        """uint8 [H, W], a film stretched to 8 bits, without padding -> float64 [2, 4], summing to 1.

        Row 0: greys as given, row 1: inverted. Column k: upright after k quarter turns counter-clockwise.
        """
        x = (thumbnail(content, THUMBNAIL).astype(np.float32) - 127.5) / 64
        turns = np.stack([np.rot90(x, k).ravel() for k in range(4)]) @ self.weights
        # Inverting changes the sign of x, and no more than that.
        seen = np.maximum(np.stack([turns, -turns]) + self.bias, 0)
        scores = (seen @ self.head).astype(np.float64)
        likely = np.exp(scores - scores.max())
        return np.asarray(likely / likely.sum())

    def pose(self, content: NDArray[np.uint8]) -> Pose:
        """The pose of a film, uint8 [H, W], as `probabilities` takes it; upright where it is not certain."""
        return pose_from(self.probabilities(content))

    def digest(self) -> str:
        """SHA-256 (hex) of all that an answer depends on."""
        rule = [_IMPLEMENTATION, THUMBNAIL, INVERTED_FROM, TURNED_FROM, self.weights.shape]
        digest = hashlib.sha256(json.dumps(rule).encode())
        for values in (self.weights, self.bias, self.head):
            digest.update(values.astype("<f4").tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """As fp16: what `fit` gives is rounded to it already."""
        with whole_file(path) as stream:
            np.savez(
                stream,
                **{name: getattr(self, name).astype(np.float16) for name in ("weights", "bias", "head")},
            )

    @classmethod
    def load(cls, path: Path) -> "Judge":
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(*(arrays[name].astype(np.float32) for name in ("weights", "bias", "head")))


def pose_from(probabilities: NDArray[np.float64]) -> Pose:
    """What is said at [2, 4], as `Judge.probabilities` gives it."""
    turned = probabilities.sum(0)
    return Pose(
        inverted=bool(probabilities[1].sum() > INVERTED_FROM),
        on_its_side=bool(turned[1] + turned[3] > TURNED_FROM),
        upside_down=bool(turned[2] > TURNED_FROM),
    )


def thumbnail(content: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """uint8 [H, W] -> uint8 [side, side], box means."""
    return np.asarray(cv2.resize(content, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


@cache
def shipped_judge() -> Judge:
    """The one in the package."""
    return Judge.load(PARAMETERS)


@cache
def judge_digest() -> str:
    """That of the one in the package."""
    return shipped_judge().digest()
