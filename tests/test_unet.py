"""The network: sizes, magnitudes, folding."""

import math

import pytest
import torch

from bmz_ddpm.diffusion.denoiser import SIZES, Denoiser
from bmz_ddpm.diffusion.layers import (
    MPConv,
    channels_to_space,
    down2,
    mp_cat_gains,
    mp_silu,
    mp_sum_gains,
    space_to_channels,
    unit_rms,
    up2,
)
from bmz_ddpm.diffusion.unet import Block, UNet


def rms(x: torch.Tensor) -> float:
    return float((x.detach() ** 2).mean().sqrt())


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_paper_size_has_the_papers_parameters() -> None:
    with torch.device("meta"):
        denoiser = Denoiser(1, 1, SIZES["paper"], "alpha_bar")
    assert count(denoiser) / 1e6 == pytest.approx(64.07, abs=0.005)


def test_paper_size_has_attention_at_32_with_16_heads() -> None:
    with torch.device("meta"):
        unet = UNet(1, 1, **SIZES["paper"])
    found = [m for m in unet.modules() if type(m).__name__ == "Attention"]
    assert [(m.heads, m.width) for m in found] == [(16, 32)]
    assert 256 // unet.multiple == 32


def test_small_size_is_small() -> None:
    assert count(Denoiser(1, 1, SIZES["small"], "log_snr")) <= 4e6


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_activations_keep_their_magnitude(size: str) -> None:
    """At initialisation with unit inputs the output's magnitude is 1 within a factor of 2."""
    torch.manual_seed(0)
    unet = UNet(1, 1, **SIZES[size])
    x, cond = torch.randn(2, 2, 1, 32, 32)
    widths = sum(unet.block_widths)
    assert 0.5 < rms(unet(x, cond, torch.ones(1, widths))) < 2


def test_magnitude_preserving_operations() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 32, 24, 24), torch.randn(4, 96, 24, 24)
    assert rms(mp_silu(a)) == pytest.approx(1, abs=0.02)
    keep, add = mp_sum_gains()
    assert add / (keep + add) == pytest.approx(0.3)
    assert rms(keep * a + add * torch.randn_like(a)) == pytest.approx(1, abs=0.02)
    gains = mp_cat_gains(32, 96)
    joined = torch.cat([gains[0] * a, gains[1] * b], 1)
    assert rms(joined) == pytest.approx(1, abs=0.02)
    halves = [float((part.detach() ** 2).sum()) for part in (joined[:, :32], joined[:, 32:])]
    assert halves[0] == pytest.approx(halves[1], rel=0.03)
    assert rms(unit_rms(7 * a, 1)) == pytest.approx(1, abs=1e-3)
    assert rms(MPConv(32, 64, 3)(a)[:, :, 1:-1, 1:-1]) == pytest.approx(1, abs=0.03)
    assert rms(MPConv(96, 64, 0)(torch.randn(500, 96))) == pytest.approx(1, abs=0.05)


def test_resampling() -> None:
    x = torch.randn(2, 4, 8, 6)
    torch.testing.assert_close(
        up2(x), torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    )
    torch.testing.assert_close(down2(up2(x)), x)
    torch.testing.assert_close(space_to_channels(x, 2), torch.nn.functional.pixel_unshuffle(x, 2))
    torch.testing.assert_close(channels_to_space(space_to_channels(x, 2), 2), x)


def test_attention_is_scaled_dot_product_attention() -> None:
    torch.manual_seed(0)
    unet = UNet(1, 1, **SIZES["tiny"])
    attention = next(m for m in unet.modules() if type(m).__name__ == "Attention")
    x = torch.randn(2, 16, 6, 6)
    qkv = attention.qkv(x).reshape(2, 1, 16, 3, 36)
    q, k, v = unit_rms(qkv, 2).permute(3, 0, 1, 4, 2)  # (3, B, heads, pixels, width)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    keep, add = mp_sum_gains()
    assert attention.proj.gain == add
    out = attention.proj(out.transpose(2, 3).reshape(2, 16, 6, 6))
    torch.testing.assert_close(attention(x), keep * x + out)


def textbook(unet: UNet, x_t: torch.Tensor, cond: torch.Tensor, modulation: torch.Tensor):  # type: ignore[no-untyped-def]
    """The network with every factor where the equations have it, and none in the weights."""

    def plain(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return layer(x) / layer.gain if isinstance(layer, MPConv) else layer(x)

    def block(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = down2(x) if self.resample < 0 else up2(x) if self.resample > 0 else x
        if self.encoder:
            x = unit_rms(plain(self.skip, x), 1)
        gain = modulation[:, self.start : self.start + self.c_out, None, None]
        y = plain(self.conv1, mp_silu(plain(self.conv0, mp_silu(x)) * gain))
        x = keep * (x if self.encoder else plain(self.skip, x)) + add * y
        return self.attention(x).clamp(-256, 256)

    keep, add = mp_sum_gains()
    x = space_to_channels(torch.cat([cond, x_t], 1), unet.stem)
    x = plain(unet.conv_in, torch.cat([x, torch.ones_like(x[:, :1])], 1))
    skips = [x]
    for down in unet.encoder:
        x = block(down, x)
        skips.append(x)
    for joined, up in zip(unet.joins, unet.decoder, strict=True):
        if joined:
            a, b = mp_cat_gains(x.shape[1], skips[-1].shape[1])
            x = torch.cat([a * x, b * skips.pop()], 1)
        x = block(up, x)
    return channels_to_space(plain(unet.conv_out, x), unet.stem)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_factors_in_the_weights_are_those_of_the_equations(size: str) -> None:
    torch.manual_seed(0)
    unet = UNet(1, 1, **SIZES[size]).eval()
    x, cond = 3 * torch.randn(2, 2, 1, 32, 32)
    modulation = 1 + torch.randn(2, sum(unet.block_widths))
    expected = textbook(unet, x, cond, modulation)
    assert rms(expected) > 0.3
    torch.testing.assert_close(unet(x, cond, modulation), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_folding_changes_nothing_but_rounding(size: str) -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(1, 1, SIZES[size], "log_snr").eval()
    denoiser.out_gain.data.fill_(0.7)
    denoiser.embedding.gains.data.uniform_(-1, 1)
    folded = UNet(1, 1, **SIZES[size], folded=True).eval()
    folded.load_state_dict(denoiser.folded_state())
    x, cond = torch.randn(2, 2, 1, 32, 32)
    bar = torch.tensor([0.9, 0.1], dtype=torch.float64)
    expected = denoiser(x, cond, bar)
    torch.testing.assert_close(
        folded(x, cond, denoiser.embedding(bar)), expected, atol=1e-5, rtol=1e-5
    )


def test_renormalising_changes_only_the_stored_weight() -> None:
    layer = MPConv(8, 8, 3)
    layer.weight.data *= 5
    x = torch.randn(1, 8, 9, 9)
    before = layer(x)
    layer.renormalise_()
    torch.testing.assert_close(layer(x), before, atol=1e-3, rtol=1e-3)
    rows = layer.weight.detach().flatten(1)
    torch.testing.assert_close((rows**2).mean(1).sqrt(), torch.ones(8), atol=1e-3, rtol=0)


def test_labels() -> None:
    """log_snr embeds −log(SNR)/8 (the paper's label is alpha_bar itself)."""
    torch.manual_seed(0)
    denoiser = Denoiser(1, 1, SIZES["tiny"], "log_snr")
    denoiser.embedding.gains.data.fill_(1)
    embedding = denoiser.embedding
    bar = torch.tensor([0.3], dtype=torch.float64)
    angle = 2 * math.pi * (math.log(0.7 / 0.3) / 8 * embedding.freqs + embedding.phases)
    features = mp_silu(embedding.embed(math.sqrt(2) * torch.cos(angle)[None]))
    expected = torch.cat([to(features) + 1 for to in embedding.to_modulation], 1)
    torch.testing.assert_close(embedding(bar), expected)


def test_a_new_denoiser_predicts_zero() -> None:
    """The output gain starts at 0, so training starts from a known loss."""
    denoiser = Denoiser(1, 1, SIZES["tiny"], "log_snr")
    x = torch.randn(1, 1, 16, 16)
    assert not bool(denoiser(x, x, torch.tensor([0.5])).detach().any())


def made_block(c_in: int, c_out: int, encoder: bool, resample: int, attention: bool) -> Block:
    return Block(c_in, c_out, encoder, resample, attention, 0.0, 0, False)


@pytest.mark.parametrize("resample", [-1, 0, 1])
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(
    ("encoder", "c_in", "c_out"), [(True, 64, 64), (True, 64, 96), (False, 64, 64), (False, 96, 64)]
)
def test_every_kind_of_block_keeps_unit_variance(
    encoder: bool, c_in: int, c_out: int, resample: int, attention: bool
) -> None:
    """Unit normal input gives a variance of 1 within 15 % at initialisation.

    With attention it is (1 − t)² / ((1 − t)² + t²) = 0.845 within 10 %: new attention weighs all
    pixels of white noise alike, their mean is almost nothing, and the residual sum (t = 0.3) keeps
    the share of the other branch.
    """
    if not encoder and resample < 0:
        return  # decoder blocks never halve
    torch.manual_seed(0)
    block = made_block(c_in, c_out, encoder, resample, attention)
    out = block(torch.randn(4, c_in, 16, 16), torch.ones(1, c_out))
    inner = out.detach()[:, :, 2:-2, 2:-2]  # zeros around the image dim the border
    expected, tolerance = (0.845, 0.0845) if attention else (1, 0.15)
    assert float(inner.var()) == pytest.approx(expected, abs=tolerance)


def test_the_label_network_keeps_unit_variance() -> None:
    """Fourier features and embedding: 1 within 15 %; the modulation starts at exactly 1."""
    torch.manual_seed(0)
    embedding = Denoiser(1, 1, SIZES["small"], "log_snr").embedding
    bar = torch.linspace(0.001, 0.999, 200, dtype=torch.float64)
    a = (torch.log1p(-bar) - torch.log(bar)).float() / 8
    angle = 2 * math.pi * (a[:, None] * embedding.freqs + embedding.phases)
    features = math.sqrt(2) * torch.cos(angle)
    assert rms(features) == pytest.approx(1, abs=0.15)
    assert rms(embedding.embed(features)) == pytest.approx(1, abs=0.15)
    assert bool((embedding(bar) == 1).all())
