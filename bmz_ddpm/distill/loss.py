"""What a student has to learn: the mean of the samples, and how far they scatter."""

from __future__ import annotations

from torch import Tensor


def student_loss(mean: Tensor, log_std: Tensor, samples: Tensor) -> Tensor:
    """Return the loss of a student's mean and log(std) against a few samples.

    The mean's error is squared and divided by the mean variance in the batch, so that it has no
    unit. The spread's part is the negative log-likelihood of the samples' variance under a normal
    distribution; the variance is that around the samples' own mean (unbiased, N − 1), so an error
    of the student's mean does not count as spread. Its minimum is the variance itself, at every
    pixel, however few samples there are.

    Parameters
    ----------
    mean, log_std : (B, C, Y, X) float32
        In model units.
    samples : (N, B, C, Y, X) float32
        In model units; N at least 2.
    """
    target = samples.mean(0)
    variance = samples.var(0)  # (B, C, Y, X)
    error = (mean - target).square().mean() / variance.mean().clamp(min=1e-8)
    spread = 0.5 * variance * (-2 * log_std).exp() + log_std
    return 0.5 * error + spread.mean()
