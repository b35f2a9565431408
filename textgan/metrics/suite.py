"""All image metrics of one extractor: each number between its floor and its ceilings, with an interval.

Floor: train images against the same test images, as many. Ceilings: those train images blurred,
collapsed to ten, and of one kind against test images of the other. A name is a protocol:
`kid1k_lite2_test` is 1,000 generated images against 1,000 test images on Lite2 features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgan.metrics.corruptions import blur
from textgan.metrics.distances import frechet_distance, frechet_of_samples, gaussian_of
from textgan.metrics.features import Extractor, Features, Images, extract_cached
from textgan.metrics.kernel import kernels, kid
from textgan.metrics.manifold import manifold
from textgan.seeds import derive_seed

BLUR_SIGMA = 2.0
COLLAPSED_TO = 10
FD_RESAMPLES, FD_RESAMPLES_OF_MANY = 50, 12
"""Of 50 the deviation is known to a tenth, of 12 to a fifth; the second where images are more than features, and each
resample costs seconds."""
K = 5


@dataclass(frozen=True, slots=True)
class Number:
    """One metric of one model, never without its floor."""

    name: str
    what: str
    extractor: str
    value: float
    low: float
    high: float
    deviation: float | None
    floor: float
    ceilings: dict[str, float]
    lower_is_better: bool


@dataclass(frozen=True, slots=True)
class References:
    """Real images: test (against which everything is measured) and as many of train."""

    test: Images
    train: Images
    test_kinds: list[str]
    train_kinds: list[str]


def count_name(count: int) -> str:
    """1000 -> 1k, 50000 -> 50k, 500 -> 500."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def image_numbers(references: References, fake: Images, extractor: Extractor, seed: int) -> list[Number]:
    """KID first, then Fréchet distance, recall, coverage, precision, density."""
    test = extract_cached(references.test, extractor, "test images")
    train = extract_cached(references.train, extractor, "train images")
    blurred = extract_cached(blur(references.train, BLUR_SIGMA), extractor, "blurred train images")
    generated = extract_cached(fake, extractor, "generated images")
    ceilings = {
        "blurred": _all(test, blurred, seed),
        "collapsed": _all(test, train[few(len(train))], seed),
    }
    other = _other_kind(references, test, train)
    if other is not None:
        ceilings["other_kind"] = _all(*other, seed)
    floor = _all(test, train, seed)
    values = _all(test, generated, seed, with_intervals=True)
    suffix = f"{count_name(len(fake))}_{extractor.name}_test"
    names = {"kid": f"kid{suffix}", "fd": f"fd{suffix}"}
    numbers = []
    for what, (value, low, high, deviation) in values.items():
        numbers.append(
            Number(
                name=names.get(what, f"{what}_k{K}_{suffix}"),
                what=what,
                extractor=extractor.name,
                value=value,
                low=low,
                high=high,
                deviation=deviation,
                floor=floor[what][0],
                ceilings={name: ceiling[what][0] for name, ceiling in sorted(ceilings.items())},
                lower_is_better=what in ("kid", "fd"),
            )
        )
    return numbers


def few(count: int) -> NDArray[np.int64]:
    """The same few places again and again, from all over: the first images of a split are of one kind."""
    return np.linspace(0, count - 1, COLLAPSED_TO).astype(np.int64)[np.arange(count) % COLLAPSED_TO]


Features64 = NDArray[np.float64]
Values = dict[str, tuple[float, float, float, float | None]]


def _all(real: Features, fake: Features, seed: int, with_intervals: bool = False) -> Values:
    """Metric -> value, low, high, deviation."""
    distance = kid(kernels(real, fake), seed, resamples=200 if with_intervals else 2)
    result: Values = {"kid": (distance.value, distance.low, distance.high, distance.deviation)}
    x, y = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    value = _frechet(x, y)
    spread = _frechet_deviation(x, y, seed) if with_intervals else 0.0
    result["fd"] = (value, value - 1.96 * spread, value + 1.96 * spread, spread)
    four = manifold(real, fake, seed, K)
    for name in ("recall", "coverage", "precision", "density"):
        interval = getattr(four, name)
        result[name] = (interval.value, interval.low, interval.high, None)
    return result


def _frechet(x: Features64, y: Features64) -> float:  # [N,D], [M,D]
    """By the shorter side: of 10,000 images a matrix of theirs would take minutes, their covariance a second."""
    if min(len(x), len(y)) > x.shape[1]:
        return frechet_distance(gaussian_of(x), gaussian_of(y))
    return frechet_of_samples(x, y)


def _frechet_deviation(x: Features64, y: Features64, seed: int) -> float:
    """Standard deviation over bootstrap resamples; repeated images bias their mean upwards, their spread little."""
    rng = np.random.default_rng(derive_seed(seed, "fd", "bootstrap"))
    shorter = min(len(x), len(y)) <= x.shape[1]
    values = []
    for _ in range(FD_RESAMPLES if shorter else FD_RESAMPLES_OF_MANY):
        a, b = (rng.multinomial(len(side), np.full(len(side), 1 / len(side))) for side in (x, y))
        if shorter:  # repeats by weight: the matrix is of the different images alone
            values.append(frechet_of_samples(x[a > 0], y[b > 0], a[a > 0], b[b > 0]))
        else:
            values.append(frechet_distance(gaussian_of(x.repeat(a, axis=0)), gaussian_of(y.repeat(b, axis=0))))
    return float(np.std(values, ddof=1))


def _other_kind(references: References, test: Features, train: Features) -> tuple[Features, Features] | None:
    """Test images of the commonest kind and train images of other kinds; None where there is one kind only."""
    kinds = sorted(set(references.test_kinds))
    if len(kinds) < 2:
        return None
    kind = max(kinds, key=references.test_kinds.count)
    a = test[np.asarray([other == kind for other in references.test_kinds])]
    b = train[np.asarray([other != kind for other in references.train_kinds])]
    return (a, b) if min(len(a), len(b)) >= 20 else None
