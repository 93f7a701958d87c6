"""What can be promised about a new field of view, and from how many fields.

A field's risk is the share of its pixels that the interval misses. It falls as the interval gets
wider. Pixels of one field are alike, so the field, not the pixel, is what is drawn at random.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ..errors import DataError

Guarantee = Literal["rcps", "crc", "field"]


def p_value(risk: float, count: int, alpha: float) -> float:
    """Return how likely a mean risk as low as this is, if the true one were above `alpha`.

    Parameters
    ----------
    risk : float
        Mean of the risks of `count` fields, each from 0 to 1.
    count : int
    alpha : float

    References
    ----------
    Bates et al. (2021), "Distribution-free, risk-controlling prediction sets", section 3.1: the
    smaller of Hoeffding's and Bentkus' bounds.
    """
    from scipy.special import bdtr

    r = min(risk, alpha)
    entropy = (1 - r) * math.log((1 - r) / (1 - alpha))
    if r > 0:
        entropy += r * math.log(r / alpha)
    # ceil of a float that should be whole must not be one too many
    bentkus = math.e * float(bdtr(math.ceil(round(count * risk, 9)), count, alpha))
    return min(math.exp(-count * entropy), bentkus, 1.0)


def fields_needed(guarantee: Guarantee, alpha: float, delta: float) -> int:
    """Return from how many fields on a promise can be made at all, even if nothing is missed.

    "rcps": (1 − alpha)ⁿ ≤ delta; "crc": n ≥ 1/alpha − 1; "field": n ≥ 1/delta − 1.
    """
    if guarantee == "rcps":
        return math.ceil(round(math.log(delta) / math.log1p(-alpha), 9))
    return max(1, math.ceil(round(1 / (alpha if guarantee == "crc" else delta) - 1, 9)))


def refuse_too_few(count: int, guarantee: Guarantee, alpha: float, delta: float) -> None:
    """Refuse a promise that so few fields cannot support.

    Raises
    ------
    DataError
        Says how many are needed, and which promise is possible.
    """
    needed = fields_needed(guarantee, alpha, delta)
    if count >= needed:
        return
    fix = f"add {needed - count} more"
    if count:
        weaker = math.ceil(round(100 / (count + 1), 9)) / 100
        fix += f", or promise less: --guarantee field --delta {weaker:g}"
    raise DataError(
        f"--guarantee {guarantee}: {count} fields of view are left to calibrate on, with alpha "
        f"{alpha:g}{'' if guarantee == 'crc' else f' and delta {delta:g}'} {needed} are needed",
        fix,
    )


def narrowest(risks: np.ndarray, guarantee: Guarantee, alpha: float, delta: float) -> int | None:
    """Return the column of the narrowest intervals that keep the promise.

    Parameters
    ----------
    risks : (N, K)
        Of N fields, for K intervals from narrow to wide: never rising along a row.
    guarantee : "rcps", "crc" or "field"
        "rcps": the mean risk over all fields there are is at most `alpha`, with probability
        1 − `delta` over the choice of the N. "crc": the risk of a new field is at most `alpha`
        on average. "field": the risk of a new field is at most `alpha` with probability
        1 − `delta`.

    Returns
    -------
    int or None
        None if even the widest do not keep it.

    References
    ----------
    "rcps": Bates et al. (2021), theorem 1, with `p_value`; every wider interval has to pass too.
    "crc": Angelopoulos et al. (2024), "Conformal risk control", eq. 4, with a largest risk of 1.
    "field": the same with the risk "misses more than `alpha`", 0 or 1: plain conformal
    prediction (Vovk et al. 2005) of the width that a field needs.
    """
    count = len(risks)
    if guarantee == "field":
        kept = ((risks > alpha).sum(0) + 1) / (count + 1) <= delta + 1e-12
    elif guarantee == "crc":
        kept = (risks.sum(0) + 1) / (count + 1) <= alpha + 1e-12
    else:
        kept = np.array([p_value(r, count, alpha) <= delta for r in risks.mean(0)])
    if not kept[-1]:
        return None
    broken = np.flatnonzero(~kept)
    return int(broken[-1]) + 1 if len(broken) else 0


def in_words(guarantee: Guarantee, alpha: float, delta: float) -> str:
    """Say what is promised, in one sentence."""
    share = f"at least {1 - alpha:.0%} of the pixels"
    if guarantee == "rcps":
        return (
            f"with {1 - delta:.0%} confidence, {share} of new fields of view lie inside on average"
        )
    if guarantee == "crc":
        return f"{share} of a new field of view lie inside, on average over fields"
    return f"in a new field of view {share} lie inside, with a probability of {1 - delta:.0%}"
