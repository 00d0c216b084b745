"""float32 vectors as two halves of 16 bits each, from which they are restored bit for bit.

The upper half is a bfloat16, rounded to the nearest: half the memory, and three times as fast to compare. The lower
half is what to add to its bits. An index searches the upper halves, and ranks the few best by both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain import Vectors

UpperHalves = NDArray[np.uint16]
"""Shape ``(n, dimension)``."""

LowerHalves = NDArray[np.int16]
"""Shape ``(n, dimension)``."""

SUMMATION_ERROR = 1e-5
"""How much a score may change with the order in which its products are added."""


def split(vectors: Vectors) -> tuple[UpperHalves, LowerHalves]:
    bits = vectors.view(np.uint32)
    upper = ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)
    return upper, (bits - (upper.astype(np.uint32) << np.uint32(16))).astype(np.uint32).view(np.int32).astype(np.int16)


def widened(upper: UpperHalves) -> Vectors:
    """The upper halves as float32: within 0.4 % of each component."""
    return (upper.astype(np.uint32) << np.uint32(16)).view(np.float32)


def joined(wide: Vectors, lower: LowerHalves) -> Vectors:
    """The vectors of which *wide* are the widened upper halves."""
    return (wide.view(np.int32) + lower).view(np.float32)


def largest_error(vectors: Vectors, upper: UpperHalves) -> float:
    """How much the score of a unit query may differ at most if it is computed from the upper halves."""
    distances = np.linalg.norm(vectors - widened(upper), axis=1)
    return float(distances.max(initial=0.0)) + SUMMATION_ERROR
