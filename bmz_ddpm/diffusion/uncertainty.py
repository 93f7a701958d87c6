"""What N samples say together: mean, standard deviation, entropy."""

import torch
from torch import Tensor


def merge_moments(
    mean: Tensor, square: Tensor, count: int, samples: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Merge a new batch of samples into running moments; memory does not grow with their number.

    Parameters
    ----------
    mean, square : (B, C, Y, X) float32
        Mean and sum of squared deviations of the first `count` samples.
    count : int
    samples : (N, B, C, Y, X) float32

    Returns
    -------
    mean, square, count
        Of all samples. `square` is a sum of squares and never negative.

    References
    ----------
    Chan, Golub, LeVeque (1983), "Algorithms for computing the sample variance", eq. 2.1.
    """
    n = samples.shape[0]
    new_mean = samples.mean(0)
    deviation = samples - new_mean
    delta = new_mean - mean
    total = count + n
    mean = mean + delta * (float(n) / float(total))
    square = square + (deviation * deviation).sum(0)
    square = square + delta * delta * (float(count) * float(n) / float(total))
    return mean, square, total


def entropy_of_levels(levels: Tensor) -> Tensor:
    """Entropy over the distinct 8-bit values that N samples take at each pixel.

    Parameters
    ----------
    levels : (N, B, C, Y, X) uint8
        Samples rounded to integers 0..255.

    Returns
    -------
    (B, C, Y, X) float32
        In nats, between 0 and ln N.

    References
    ----------
    The paper, eq. 16. Written as the mean over samples of ln(N / count), where count is how
    many samples share the value: no histogram (forbidden in deterministic mode on a GPU), and
    no term is ever negative. Pair by pair, so that memory grows by one byte per sample and
    pixel, not by twelve.
    """
    entropy = torch.zeros_like(levels[0], dtype=torch.float32)
    for i in range(levels.shape[0]):
        level = levels[i].to(torch.float32)  # ONNX Runtime compares no uint8
        count = torch.zeros_like(level)
        for j in range(levels.shape[0]):
            count = count + (levels[j].to(torch.float32) == level).to(torch.float32)
        entropy = entropy + torch.log(float(levels.shape[0]) / count)
    return entropy / float(levels.shape[0])
