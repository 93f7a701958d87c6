"""One source, four engines, the same image."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from checks import EIGHT_BIT, check_backend, photons

from bmz_ddpm.check.weights_files import libtorch_schemas
from bmz_ddpm.diffusion.assemble import SamplerSettings, assemble_sampler
from bmz_ddpm.diffusion.denoiser import SIZES, Denoiser
from bmz_ddpm.diffusion.interval import Calibrated
from bmz_ddpm.diffusion.sampler import DiffusionSampler, StackedSampler
from bmz_ddpm.diffusion.schedule import Schedule
from bmz_ddpm.errors import ExportError
from bmz_ddpm.export.architecture import architecture_source
from bmz_ddpm.export.onnx import all_graphs, operators, save_onnx
from bmz_ddpm.export.parity import compare, require_agreement
from bmz_ddpm.export.torchscript import save_torchscript, to_torchscript
from bmz_ddpm.runtime.backends import (
    INTERVAL,
    OUTPUTS,
    Backend,
    onnx_backend,
    torch_backend,
    torchscript_backend,
    unstacked,
)

GOLDEN = Path(__file__).parent / "golden"


def sampler_of(steps: int, samples: int, eta: float = 1.0, **changes: Any) -> DiffusionSampler:
    torch.manual_seed(0)
    channels = changes.pop("channels", 1)
    denoiser = Denoiser(channels, channels, SIZES["tiny"], "log_snr").eval()
    denoiser.out_gain.data.fill_(0.3)
    denoiser.embedding.gains.data.fill_(0.5)
    return assemble_sampler(
        denoiser,
        in_channels=channels,
        out_channels=channels,
        network=SIZES["tiny"],
        schedule=Schedule(),
        prediction="v",
        intensity=EIGHT_BIT,
        settings=SamplerSettings(steps, samples, eta, **changes),
    )


def written(sampler: DiffusionSampler, folder: Path, channels: int = 1) -> dict[str, Path]:
    scripted = to_torchscript(sampler)
    save_torchscript(scripted, folder / "weights.pt")
    save_onnx(scripted, channels, folder / "weights.onnx")
    return {"torchscript": folder / "weights.pt", "onnx": folder / "weights.onnx"}


def rebuilt(sampler: DiffusionSampler, steps: int, samples: int, batched: int) -> Backend:
    namespace: dict[str, Any] = {"__name__": "architecture"}
    exec(compile(architecture_source(), "architecture.py", "exec"), namespace)
    module = namespace["DiffusionSampler"](1, 1, SIZES["tiny"], steps, samples, batched)
    stream = io.BytesIO()
    torch.save(sampler.state_dict(), stream)
    stream.seek(0)
    module.load_state_dict(torch.load(stream, weights_only=True))
    return torch_backend(module)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def backends(folder: Path) -> dict[str, Backend]:
    sampler = sampler_of(4, 4, samples_per_pass=2)
    files = written(sampler, folder)
    return {
        "eager": torch_backend(sampler),
        "state_dict": rebuilt(sampler, 4, 4, 2),
        "torchscript": torchscript_backend(files["torchscript"]),
        "onnx": onnx_backend(files["onnx"]),
    }


@pytest.mark.parametrize("engine", ["eager", "state_dict", "torchscript", "onnx"])
def test_contract(backends: dict[str, Backend], engine: str) -> None:
    check_backend(backends[engine], num_samples=4)


@pytest.mark.parametrize("engine", ["state_dict", "torchscript", "onnx"])
@pytest.mark.parametrize("size", [(64, 64), (50, 37)])
def test_every_engine_gives_the_eager_image(
    backends: dict[str, Backend], engine: str, size: tuple[int, int]
) -> None:
    image = photons(*size)
    parity = compare(backends["eager"](image), backends[engine](image), 255.0)
    assert parity.excess < 0.2, parity
    assert parity.entropy < 0.005


def test_intervals_are_the_same_in_every_engine(tmp_path: Path) -> None:
    """Five outputs; the first three are those of the uncalibrated sampler, to the last bit."""
    sampler = sampler_of(2, 4)
    module = Calibrated(sampler)
    constants = [4.0, 1.0, 2.0, 30.0, 1.5, 2.0, EIGHT_BIT.low, EIGHT_BIT.high]
    module.interval.constants.copy_(torch.tensor(constants))
    scripted = to_torchscript(module)
    save_torchscript(scripted, tmp_path / "weights.pt")
    save_onnx(scripted, 1, tmp_path / "weights.onnx", (*OUTPUTS, *INTERVAL))
    namespace: dict[str, Any] = {"__name__": "architecture"}
    exec(compile(architecture_source(), "architecture.py", "exec"), namespace)
    again = namespace["CalibratedSampler"](1, 1, SIZES["tiny"], 2, 4, 1)
    again.load_state_dict(module.state_dict())
    for size in ((64, 64), (50, 37)):
        image = photons(*size)
        reference = torch_backend(module)(image)
        for plain, calibrated in zip(torch_backend(sampler)(image), reference[:3], strict=True):
            np.testing.assert_array_equal(plain, calibrated)
        mean, std, _, lower, upper = reference
        width = np.sqrt(4 * std**2 + 1 + 2 * mean / 255 + 30 * (mean / 255) ** 2)
        np.testing.assert_allclose(lower, np.clip(mean - 1.5 * width, 0, 255), atol=1e-3)
        np.testing.assert_allclose(upper, np.clip(mean + 2.0 * width, 0, 255), atol=1e-3)
        for backend in (
            torch_backend(again),
            torchscript_backend(tmp_path / "weights.pt"),
            onnx_backend(tmp_path / "weights.onnx"),
        ):
            parity = compare(reference, backend(image), 255.0)
            assert parity.excess < 0.5, parity
            assert parity.interval is not None
            assert parity.interval < 1e-4
    used = set(torch.jit.export_opnames(torch.jit.load(str(tmp_path / "weights.pt"))))
    assert used <= libtorch_schemas()
    known = set((GOLDEN / "onnx_operators.txt").read_text().split())
    assert set(operators(onnx.load(str(tmp_path / "weights.onnx")))) <= known


def test_intervals_that_differ_are_refused() -> None:
    """x: differs from eager by 0.0e+00 (denoised), 0.0e+00 (std), 1.0e-03 (lower, upper) …"""
    good = tuple(np.full((1, 1, 4, 4), v, np.float32) for v in (9, 1, 0, 7, 12))
    off = (*good[:4], good[4] + 0.255)
    with pytest.raises(ExportError, match=r"\(std\), 1\.0e-03 \(lower, upper\) of the range"):
        require_agreement(good, good[0], {"x": lambda _: off}, 255.0)


def test_one_stacked_output(tmp_path: Path) -> None:
    """Means, deviations, entropies of both channels, in this order, back in counts and nats."""
    sampler = sampler_of(2, 4, channels=2)
    stacked = StackedSampler(2, 2, SIZES["tiny"], 2, 4, 1)
    stacked.sampler.load_state_dict(sampler.state_dict())
    image = photons(32, 40, channels=2)
    reference = torch_backend(sampler)(image)
    save_torchscript(to_torchscript(stacked), tmp_path / "weights.pt")
    for backend in (torch_backend(stacked), torchscript_backend(tmp_path / "weights.pt")):
        (result,) = backend(image)
        assert result.shape == (1, 6, 32, 40)
        assert 0 <= result.min() <= result.max() <= 1
        np.testing.assert_allclose(result[:, :2] * 255, reference[0], atol=1e-3)
        np.testing.assert_allclose(result[:, 2:4] * 255, reference[1], atol=1e-3)
        np.testing.assert_allclose(result[:, 4:] * np.log(4), reference[2], atol=1e-5)
        assert compare(reference, unstacked(backend, 0.0, 255.0, 4)(image), 255.0).excess < 0.01


def test_the_stacked_output_never_leaves_its_range() -> None:
    """Sixteen samples that all differ: ln 16 in float32, divided by ln 16, is more than 1."""
    sampler = sampler_of(2, 16)
    stacked = StackedSampler(1, 1, SIZES["tiny"], 2, 16, 1)
    stacked.sampler.load_state_dict(sampler.state_dict())
    image = photons(64, 64)
    (result,) = torch_backend(stacked)(image)
    entropy = torch_backend(sampler)(image)[2]
    assert (entropy.max() / np.log(16)).astype(np.float32) > 1  # what the limit is there for
    assert result[:, 2].max() == 1


def test_one_sample_has_no_entropy() -> None:
    stacked = StackedSampler(1, 1, SIZES["tiny"], 1, 1, 1)
    stacked.sampler.load_state_dict(sampler_of(1, 1).state_dict())
    (result,) = torch_backend(stacked)(photons(16, 16))
    assert np.isfinite(result).all()
    assert (result[:, 1:] == 0).all()


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_three_channels(tmp_path: Path, eta: float) -> None:
    sampler = sampler_of(3, 2, eta, channels=3)
    image = photons(32, 40, channels=3)
    reference = torch_backend(sampler)(image)
    files = written(sampler, tmp_path, channels=3)
    for backend in (torchscript_backend(files["torchscript"]), onnx_backend(files["onnx"])):
        assert compare(reference, backend(image), 255.0).passed


def test_files_do_not_grow_with_steps_and_samples(tmp_path: Path) -> None:
    """Loops stay loops: only the tables of steps and samples grow."""
    sizes = []
    for steps, samples in ((2, 2), (40, 5)):
        sampler = sampler_of(steps, samples)
        target = tmp_path / str(steps)
        target.mkdir()
        files = written(sampler, target)
        table = (sampler.modulation.numel() + sampler.coefficients.numel()) * 4
        sizes.append([path.stat().st_size - table for path in files.values()])
        nodes = sum(operators(onnx.load(str(files["onnx"]))).values())
        assert nodes < 2000
    np.testing.assert_allclose(sizes[0], sizes[1], atol=2000)


def test_onnx_file_is_for_old_runtimes(folder: Path, backends: dict[str, Backend]) -> None:
    model = onnx.load(str(folder / "weights.onnx"))
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    known = set((GOLDEN / "onnx_operators.txt").read_text().split())
    assert set(operators(model)) <= known
    assert operators(model)["Loop"] >= 3
    assert not any(t.HasField("data_location") and t.data_location for t in model.graph.initializer)


def test_onnx_weights_are_inside_the_loop(folder: Path, backends: dict[str, Backend]) -> None:
    """ONNX Runtime pre-packs only initialisers of the graph that uses them."""
    model = onnx.load(str(folder / "weights.onnx"))
    outer = {t.name for t in model.graph.initializer}
    assert not any("unet" in name for name in outer)
    bodies = [{t.name for t in g.initializer} for g in all_graphs(model.graph)]
    assert any(sum("unet" in name for name in body) > 10 for body in bodies)


def test_torchscript_file_is_for_old_libtorch(folder: Path, backends: dict[str, Backend]) -> None:
    """Only operators that libtorch 1.13.1 and 2.0.0 both list; parameters to move; no device."""
    known = libtorch_schemas()
    module = torch.jit.load(str(folder / "weights.pt"))
    used = set(torch.jit.export_opnames(module))
    assert len(used) > 30
    assert used <= known
    assert len(list(module.parameters())) > 10
    assert 'torch.device("' not in module.code + module.unet.code


def test_architecture_file_needs_torch_alone() -> None:
    lines = architecture_source().splitlines()
    imports = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imports <= {"torch", "math", "typing"}
    assert not any(line.lstrip().startswith("from .") for line in lines)


def test_difference_beyond_the_limit_is_refused(backends: dict[str, Backend]) -> None:
    """onnx: differs from eager by 1.0e-03 (denoised) …"""

    def off(image: np.ndarray) -> tuple[np.ndarray, ...]:
        denoised, std, entropy = backends["eager"](image)
        return denoised + 0.255, std, entropy

    image = photons(32, 32)
    eager = backends["eager"](image)
    with pytest.raises(
        ExportError, match=r"onnx: differs from eager by 1\.0e-03 \(denoised\)"
    ) as e:
        require_agreement(eager, image, {"onnx": off}, 255.0)
    assert "nothing was written" in e.value.problem
    assert e.value.fix == "train longer, or use fewer steps"


def test_nan_and_wrong_shapes_are_refused() -> None:
    good = (np.ones((1, 1, 2, 2)),) * 3
    with pytest.raises(ExportError, match="output std: holds NaN or infinity"):
        compare(good, (good[0], good[1] * np.nan, good[2]), 1.0)
    with pytest.raises(ExportError, match=r"output denoised: shape \(2, 2\), eager gives"):
        compare(good, (np.ones((2, 2)), good[1], good[2]), 1.0)
