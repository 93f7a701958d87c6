"""What the README of a calibrated package says about lower and upper."""

from __future__ import annotations

from statistics import NormalDist

from ..calibrate.promises import in_words
from ..config import Calibration
from .job import Job
from .profiles import Profile


def interval_lines(job: Job, profile: Profile) -> list[str]:
    """Return rows for the table of outputs and a paragraph below it; none without intervals."""
    found = job.calibration
    if found is None or not job.has_intervals(profile):
        return []
    rows = [f"| {o.id} | {o.description.split(',')[0]} | grey levels |" for o in profile.interval]
    return [*rows, "", f"{_promised(found)} {_found(found)} {_limits(found)}"]


def _promised(found: Calibration) -> str:
    promise = in_words(found.guarantee, found.alpha, found.delta)
    forms = f"{found.fit_fields} field{'s' if found.fit_fields > 1 else ''} of view"
    matched = (
        " Every clean image was first brought to the gain and offset of its noisy one."
        if found.match_intensity
        else ""
    )
    return (
        f"The calibrated interval reaches from lower to upper. What it promises: {promise}, if the "
        "field is like those it was calibrated on. What counts is the number of fields, not of "
        f"pixels: {forms} decided its form, {found.fields} others its width.{matched}"
    )


def _found(found: Calibration) -> str:
    how = (
        "each with a width from the other fields"
        if found.left_out
        else "in the very fields that decided the width: expect a little less"
    )
    plain = NormalDist().inv_cdf(1 - found.alpha / 2)
    text = (
        f"Found in the {found.fields} fields: {found.coverage:.1%} of the pixels inside, "
        f"{found.worst_coverage:.1%} to {found.best_coverage:.1%} by field ({how}); mean length "
        f"{found.length:.3g} grey levels. Mean ± {plain:.3f} std held {found.plain_coverage:.1%}"
    )
    if found.scaled_length is None:
        return f"{text}."
    return (
        f"{text}; a multiple of std that holds as many as the interval would be "
        f"{found.scaled_length:.3g} grey levels long."
    )


def _limits(found: Calibration) -> str:
    text = "lower and upper are for single pixels: about a sum or a mean of many they say nothing."
    if found.std_factor is None:
        return text
    return (
        f"{text} The std output stays as the paper defines it; multiplied by "
        f"{found.std_factor:.2f} it is the root mean square error found in these fields."
    )
