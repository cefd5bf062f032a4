"""Uncertainty: bootstrap intervals of ratios and quantiles, and paired tests between two systems.

Source: B. Efron, "Better bootstrap confidence intervals" (1987) for the BCa interval; E. B. Wilson
(1927) for proportions that the bootstrap cannot see beyond (all right or all wrong); S. Holm (1979) for
several tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000
PERMUTATIONS = 10_000
_BLOCK = 2_000_000  # numbers held at once while resampling


@dataclass(frozen=True)
class Interval:
    """A figure and where it may lie.

    Attributes:
        value: the estimate.
        low: lower bound of the interval.
        high: upper bound of the interval.
        n: items it rests on.
    """

    value: float
    low: float
    high: float
    n: int


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Return sum over sum with its BCa bootstrap interval; items are the unit that is resampled.

    Args:
        numerators: (n,), one an item.
        denominators: (n,), not negative; a mean has ones here.
        confidence: rate at which the interval should cover.
        resamples: bootstrap samples.
        seed: makes it repeatable.

    Returns:
        ``None`` where there is nothing to divide by.
    """
    num, den = np.asarray(numerators, float), np.asarray(denominators, float)
    if not num.size or den.sum() <= 0:
        return None
    value = float(num.sum() / den.sum())
    if _is_flat_proportion(num, den):
        return Interval(value, *_wilson(value, den.sum(), confidence), num.size)
    samples = _resampled_ratios(num, den, resamples, seed)
    low, high = _bca(samples, value, _jackknife(num, den), confidence)
    return Interval(value, low, high, num.size)


def quantile_interval(
    values: Sequence[float],
    quantile: float,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Return a quantile with its percentile bootstrap interval; ``None`` for no values."""
    data = np.asarray(values, float)
    if not data.size:
        return None
    rng = np.random.default_rng(seed)
    found = [
        np.quantile(data[rng.integers(0, data.size, (rows, data.size))], quantile, axis=1)
        for rows in _blocks(resamples, data.size)
    ]
    low, high = np.quantile(np.concatenate(found), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(np.quantile(data, quantile)), float(low), float(high), data.size)


@dataclass(frozen=True)
class Difference:
    """System B against system A on the same items.

    Attributes:
        a: figure of A on the shared items.
        b: figure of B on them.
        difference: B minus A.
        low: lower bound of the interval of the difference (paired bootstrap).
        high: upper bound of it.
        p: two-sided p-value of a paired permutation test.
        n: shared items.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    n: int


def paired_difference(
    a: Sequence[tuple[float, float]],
    b: Sequence[tuple[float, float]],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Difference | None:
    """Compare two systems by a metric that is a ratio of sums.

    The interval resamples items, keeping both systems' scores of an item together; the test swaps the two
    scores of each item at random, as if the systems were the same.

    Args:
        a: (numerator, denominator) of each item under system A.
        b: the same items, in the same order, under system B.
        confidence: rate of the interval.
        resamples: bootstrap samples.
        permutations: random swaps.
        seed: makes it repeatable.

    Returns:
        ``None`` where either system has nothing to divide by.
    """
    first, second = np.asarray(a, float).reshape(-1, 2), np.asarray(b, float).reshape(-1, 2)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} scores cannot be paired")
    if not len(first) or first[:, 1].sum() <= 0 or second[:, 1].sum() <= 0:
        return None
    value_a, value_b = _ratio(first.sum(axis=0)), _ratio(second.sum(axis=0))
    observed = float(value_b - value_a)
    rng = np.random.default_rng(seed)
    spread, extreme, valid = [], 0, 0
    for rows in _blocks(resamples, len(first)):
        counts = rng.multinomial(len(first), np.full(len(first), 1 / len(first)), size=rows)
        spread.append(_ratio(counts @ second) - _ratio(counts @ first))
    for rows in _blocks(permutations, len(first)):
        swap = rng.integers(0, 2, (rows, len(first))).astype(float)
        swapped_a = first.sum(axis=0) + swap @ (second - first)
        swapped_b = second.sum(axis=0) + swap @ (first - second)
        drawn = _ratio(swapped_b) - _ratio(swapped_a)
        drawn = drawn[np.isfinite(drawn)]
        valid += drawn.size
        extreme += int(np.count_nonzero(np.abs(drawn) >= abs(observed) - 1e-12))
    draws = np.concatenate(spread)
    low, high = np.quantile(draws[np.isfinite(draws)], [(1 - confidence) / 2, (1 + confidence) / 2])
    p = (1 + extreme) / (1 + valid)
    return Difference(float(value_a), float(value_b), observed, float(low), float(high), p, len(first))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for having tested all of them (Holm), in the same order."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        least = max(least, min(1.0, p_values[at] * (len(p_values) - rank)))
        adjusted[at] = least
    return adjusted


def _ratio(sums: np.ndarray) -> np.ndarray:
    """(…, 2) sums to ratios; NaN where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)


def _blocks(total: int, width: int) -> list[int]:
    """Cut `total` rows into blocks that keep memory bounded."""
    rows = max(1, min(total, _BLOCK // max(1, width)))
    return [min(rows, total - start) for start in range(0, total, rows)]


def _resampled_ratios(num: np.ndarray, den: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pairs, found = np.stack([num, den], axis=1), []
    for rows in _blocks(resamples, num.size):
        counts = rng.multinomial(num.size, np.full(num.size, 1 / num.size), size=rows)
        found.append(_ratio(counts @ pairs))
    ratios = np.concatenate(found)
    return ratios[np.isfinite(ratios)]


def _jackknife(num: np.ndarray, den: np.ndarray) -> np.ndarray:
    left = _ratio(np.stack([num.sum() - num, den.sum() - den], axis=1))
    return left[np.isfinite(left)]


def _bca(samples: np.ndarray, value: float, jackknife: np.ndarray, confidence: float) -> tuple[float, float]:
    normal = NormalDist()
    # Half of the ties count as below: discrete scores would bias the correction otherwise.
    below = float(np.mean(samples < value) + np.mean(samples == value) / 2) if samples.size else 0.0
    if jackknife.size < 2 or not 0 < below < 1:
        return value, value
    shift = normal.inv_cdf(below)
    away = jackknife.mean() - jackknife
    scale = float(np.sum(away**2)) ** 1.5
    bend = float(np.sum(away**3)) / (6 * scale) if scale > 0 else 0.0
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = shift + normal.inv_cdf(tail)
        ends.append(normal.cdf(shift + z / (1 - bend * z)))
    low, high = np.quantile(samples, ends)
    return float(low), float(high)


def _is_flat_proportion(num: np.ndarray, den: np.ndarray) -> bool:
    """Whether nothing, or everything, was hit: no resample can differ, but the next item might."""
    return bool(np.all(num == 0) or np.all(num == den))


def _wilson(share: float, n: float, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
