"""What each measure is called, how it is printed, and which values of it are good."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np


class Measure(NamedTuple):
    """One column of ``metrics.csv``'s ``metric``.

    Attributes
    ----------
    key : str
        Its name in ``metrics.csv``.
    label, unit : str
        As they are printed; the unit may be empty.
    digits : int
        Decimal places.
    aim : "low", "high", float or None
        Which values are good; a number is the value to come close to, None means that no value
        is better than another.
    table, group : str
        Headings of the table and of the columns in which it stands.
    """

    key: str
    label: str
    unit: str
    digits: int
    aim: Literal["low", "high"] | float | None
    table: str
    group: str

    @property
    def arrow(self) -> str:
        """Return the sign that says which values are good."""
        if self.aim is None:
            return ""
        if isinstance(self.aim, str):
            return "↓" if self.aim == "low" else "↑"
        return f"→ {self.aim:g}"

    @property
    def title(self) -> str:
        """Return the label with its unit and arrow."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit} {self.arrow}".rstrip()

    def badness(self, values: np.ndarray) -> np.ndarray:
        """Return what the best method has least of; NaN where there is no better and worse."""
        if self.aim is None:
            return np.full(np.shape(values), np.nan)
        if self.aim == "low":
            return values
        return -values if self.aim == "high" else np.abs(values - float(self.aim))

    def text(self, value: float, sign: bool = False) -> str:
        """Return a value as it is printed: "n/a" for NaN, with a true minus sign."""
        if np.isnan(value):
            return "n/a"
        if np.isinf(value):
            return "−∞" if value < 0 else "∞"
        written = f"{value:+.{self.digits}f}" if sign else f"{value:.{self.digits}f}"
        return written.replace("-", "−")


_AGREEMENT, _FURTHER, _OTHER = (
    "Agreement with the clean image",
    "Resolution and uncertainty",
    "Other",
)
_MAIN = (_AGREEMENT, "the paper’s Tables 2 to 5")
_MORE = (_AGREEMENT, "its Tables S3 and S4")
_FREE = (_AGREEMENT, "apart from brightness (not in the paper)")
_FINE = (_FURTHER, "resolution (the paper’s Table S5)")
_SURE = (_FURTHER, "uncertainty (not in the paper)")
_UNKNOWN = (_OTHER, "measures that are not known here")

#: In the order in which they are printed.
MEASURES = {
    measure.key: measure
    for measure in (
        Measure("mae", "MAE", "counts", 2, "low", *_MAIN),
        Measure("psnr", "PSNR", "dB", 2, "high", *_MAIN),
        Measure("ms_ssim", "MS-SSIM", "", 3, "high", *_MAIN),
        Measure("lpips", "LPIPS", "", 3, "low", *_MAIN),
        Measure("nrmse", "NRMSE", "", 3, "low", *_MORE),
        Measure("pearson", "Pearson r", "", 3, "high", *_MORE),
        Measure("resolution", "Resolution", "", 2, None, *_FINE),
        Measure("resolution_ratio", "Resolution ratio", "", 2, 1.0, *_FINE),
        Measure("psnr_fitted", "Fitted PSNR", "dB", 2, "high", *_FREE),
        Measure("micro_ms3im", "MicroMS3IM", "", 3, "high", *_FREE),
        Measure("crps", "CRPS", "counts", 2, "low", *_SURE),
        Measure("spread_skill", "Spread/skill", "", 2, 1.0, *_SURE),
        Measure("coverage_90", "Coverage of 90 %", "", 3, 0.9, *_SURE),
    )
}

#: Below the table with columns of that heading.
REMARKS = {
    _FINE[1]: "No resolution is set in bold: noise lowers it too, so a smaller value need not be "
    "better. A ratio of 1 is the resolution of the clean image.",
    _FREE[
        1
    ]: "Gain and offset of every result are fitted to the clean image first, so a result with "
    "the wrong brightness is not punished for it.",
    _SURE[
        1
    ]: "Only methods that draw several samples have these. Spread/skill below 1: the std map "
    "promises more than it keeps. Coverage: the share of clean pixels inside the 90 % interval.",
    _UNKNOWN[1]: "Which values of these are good is not known here: none is in bold.",
}


def measure_of(key: str) -> Measure:
    """Return what is known about a measure; one with an unknown name has no better and worse."""
    return MEASURES.get(key, Measure(key, key, "", 3, None, *_UNKNOWN))
