"""The φ-accrual failure detector: how surprising is it that the answer is not here yet?

N. Hayashibara, X. Défago, R. Yared, T. Katayama, "The φ Accrual Failure Detector", SRDS 2004. From the delays seen so far the
detector estimates a normal distribution, and says of an answer that is awaited for ``waited`` seconds

    φ = -log10 P(an answer takes longer than ``waited``)

so φ = 1 is wrong one time in ten and φ = 8 one time in 10⁸, if the model holds. It does not hold for long pauses, hence the
parameters that Akka added (akka-cluster ``reference.conf``, ``failure-detector``; its values in brackets): a floor under the
standard deviation, because a steady network would make every hiccup suspicious [100 ms], and a pause that is accepted on top
of the mean [3 s at beats of 1 s]; threshold [8, for clouds 12], samples [1,000]. And ours: a hard maximum, after which φ is
infinite whatever the samples say, so that a noisy past cannot postpone the verdict for ever.

A sample is what the expectation began with, to what ended it: of an echo, its round trip; of a peer that promised beats, the
delay behind the promise. Unlike inter-arrival times, of which the paper speaks, these do not change with the interval.

The paper keeps a window of samples. Here the estimate is three numbers: exact over the first ``window`` samples, and after that
each sample weighs 1/``window`` and older ones fade (T. Finch, "Incremental calculation of weighted mean and variance", 2009).
So a million connections remember 1,000 samples each without the memory for them.
"""

from __future__ import annotations

import math

THRESHOLD = 8.0
MIN_DEVIATION = 0.1
WINDOW = 1000

_LN10 = math.log(10)
_FIRST_DEVIATION = 0.25
"""Before the first samples, the deviation as a share of the expected delay, as in Akka."""


class PhiDetector:
    """The delays of one peer. All durations are seconds.

    Args:
        expected: The delay to assume before the first sample.
        accepted_pause: Added to the mean. Default 0.
        min_deviation: Floor under the standard deviation. Default 0.1.
        maximum: Waiting this long is infinitely suspicious. Default: no maximum.
        window: Samples that the estimate remembers. Default 1,000.

    Raises:
        ValueError: a value out of its range.
    """

    __slots__ = ("_accepted_pause", "_maximum", "_mean", "_min_deviation", "_samples", "_variance", "_window")

    def __init__(
        self,
        expected: float,
        *,
        accepted_pause: float = 0.0,
        min_deviation: float = MIN_DEVIATION,
        maximum: float = math.inf,
        window: int = WINDOW,
    ) -> None:
        if not (expected >= 0 and accepted_pause >= 0 and min_deviation > 0 and maximum > 0 and window >= 2):
            raise ValueError(
                "expected and accepted_pause must be at least 0, min_deviation and maximum more than 0, window at least 2; got "
                f"{expected}, {accepted_pause}, {min_deviation}, {maximum}, {window}"
            )
        self._accepted_pause = accepted_pause
        self._min_deviation = min_deviation
        self._maximum = maximum
        self._window = window
        self._mean = expected
        self._variance = (_FIRST_DEVIATION * expected) ** 2
        self._samples = 0

    @property
    def samples(self) -> int:
        """Samples that the estimate is made from; stops at the window's size."""
        return self._samples

    @property
    def mean(self) -> float:
        """Estimated mean delay."""
        return self._mean

    @property
    def deviation(self) -> float:
        """Estimated standard deviation, not below its floor."""
        return max(self._min_deviation, math.sqrt(self._variance))

    def add(self, delay: float) -> None:
        """Learn a delay."""
        if self._samples == 0:
            self._mean, self._variance, self._samples = delay, 0.0, 1
            return
        if self._samples < self._window:
            self._samples += 1
        share = 1.0 / self._samples
        step = share * (delay - self._mean)
        self._variance = (1.0 - share) * (self._variance + step * (delay - self._mean))
        self._mean += step

    def phi(self, waited: float) -> float:
        """Return φ of an answer that has been awaited for ``waited`` seconds; infinite from the maximum on."""
        if waited >= self._maximum:
            return math.inf
        return 0.0 - _log10_tail((waited - self._mean - self._accepted_pause) / self.deviation)

    def patience(self, threshold: float = THRESHOLD, *, accept_pause: bool = True) -> float:
        """Return the seconds of waiting at which φ reaches ``threshold``; never more than the maximum.

        ``accept_pause=False`` leaves the accepted pause out: when the delay is unusual, though nobody is convicted yet.
        """
        pause = self._accepted_pause if accept_pause else 0.0
        return min(self._maximum, self._mean + pause + _quantile(threshold) * self.deviation)


def _log10_tail(sigmas: float) -> float:
    """Return log10 of the probability that a normal variable lies above its mean by more than ``sigmas`` deviations."""
    if sigmas < 30.0:
        return math.log10(0.5 * math.erfc(sigmas / math.sqrt(2.0)))
    # erfc is about to underflow: the first terms of its asymptotic series are exact to 1e-6 here.
    series = 1.0 - 1.0 / sigmas**2 + 3.0 / sigmas**4
    return (-0.5 * sigmas**2 - math.log(sigmas * math.sqrt(2.0 * math.pi)) + math.log(series)) / _LN10


_quantiles: dict[float, float] = {}


def _quantile(threshold: float) -> float:
    """Return the deviations above the mean at which φ is ``threshold``. Few thresholds are in use, so they are kept."""
    found = _quantiles.get(threshold)
    if found is None:
        if not 0 < threshold <= 300:
            raise ValueError(f"threshold must be more than 0 and at most 300; got {threshold!r}")
        low, high = -40.0, 40.0
        while high - low > 1e-12 * max(1.0, abs(low)):
            middle = (low + high) / 2
            low, high = (middle, high) if -_log10_tail(middle) < threshold else (low, middle)
        found = high
        if len(_quantiles) < 64:
            _quantiles[threshold] = found
    return found
