"""The accounting of bench: turns, spreads, counts; no test looks at how long anything took."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checks import EIGHT_BIT, photons
from torch import nn

from bmz_ddpm.about import speed_in
from bmz_ddpm.bench.care import CareUNet, care_of_size, parameters
from bmz_ddpm.bench.engines import Parts
from bmz_ddpm.bench.floor import Ceiling, Work, count_work
from bmz_ddpm.bench.memory import peak_memory
from bmz_ddpm.bench.report import write_results
from bmz_ddpm.bench.run import Plan, bench
from bmz_ddpm.bench.subject import open_subject
from bmz_ddpm.bench.timing import Spread, interleaved, paired_ratio, repeated
from bmz_ddpm.config import ModelConfig
from bmz_ddpm.diffusion.assemble import SamplerSettings
from bmz_ddpm.diffusion.denoiser import SIZES
from bmz_ddpm.errors import CheckpointError, ConfigError
from bmz_ddpm.export.fastest import WORTH, fastest_backend
from bmz_ddpm.export.parity import compare
from bmz_ddpm.runtime.accelerate import accelerated, batched
from bmz_ddpm.runtime.backends import torch_backend
from bmz_ddpm.train.checkpoint import Checkpoint, build_denoiser


class FakeClock:
    """A clock that only the parts move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def part(self, seconds: list[float]) -> Any:
        left = iter([0.0, *seconds])  # the first call warms up

        def run() -> None:
            self.now += next(left)

        return run


def test_parts_take_turns_and_each_gets_its_own_time() -> None:
    clock = FakeClock()
    parts = {"a": clock.part([1, 2, 3]), "b": clock.part([10, 20, 60])}
    done: list[tuple[int, int]] = []
    seconds = interleaved(parts, 3, clock, report=lambda i, n: done.append((i, n)))
    assert seconds == {"a": [1, 2, 3], "b": [10, 20, 60]}
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert paired_ratio(seconds["b"], seconds["a"], 5).median == pytest.approx(2)


def test_waiting_for_the_device_is_part_of_the_time() -> None:
    clock = FakeClock()

    def wait() -> None:
        clock.now += 0.5

    assert interleaved({"a": clock.part([1, 1])}, 2, clock, wait)["a"] == [1.5, 1.5]


def test_spread_is_median_and_quartiles() -> None:
    assert Spread.of([5, 1, 4, 2, 3]) == Spread(3, 2, 4, 5)
    assert Spread.of([7.0]) == Spread(7, 7, 7, 1)


def test_repeated_calls_several_times() -> None:
    calls: list[int] = []
    repeated(lambda: calls.append(1), 4)()
    assert len(calls) == 4


def test_what_fails_is_missing_with_a_reason() -> None:
    def fails() -> Any:
        raise RuntimeError("no compiler\nlong trace")

    parts = Parts()
    parts.add("good", lambda: lambda: None)
    parts.add("bad", fails)
    assert list(parts.calls) == ["good"]
    assert parts.missing == {"bad": "no compiler"}


def test_work_of_a_convolution() -> None:
    layer = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, bias=False))
    work = count_work(layer, (torch.zeros(1, 2, 4, 5),))
    assert work.flops == 2 * 2 * 3 * 9 * 20
    assert work.bytes == 4 * (2 * 20 + 3 * 20 + 2 * 3 * 9)


def test_the_floor_is_the_slower_of_computing_and_moving() -> None:
    ceiling = Ceiling(flops=100.0, bytes=10.0)
    assert ceiling.floor(Work(200.0, 10.0)) == 2
    assert ceiling.floor(Work(200.0, 50.0)) == 5


def test_care_has_as_many_parameters() -> None:
    care = care_of_size(1, 2, 200_000)
    assert parameters(care) == pytest.approx(200_000, rel=0.05)
    assert care(torch.zeros(1, 1, 16, 24)).shape == (1, 2, 16, 24)
    # two convolutions of 3 x 3 per level with bias: csbdeep's plan, width 4, counted by hand
    plan = [(1, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 8), (16, 8), (8, 4), (8, 4), (4, 4)]
    assert parameters(CareUNet(1, 1, 4)) == sum(9 * a * b + b for a, b in plan) + 5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(
        in_channels=1,
        out_channels=1,
        network=SIZES["tiny"],
        num_train_steps=20,
        schedule_offset=8e-3,
        prediction="v",
        label="log_snr",
        intensity=EIGHT_BIT,
    )
    denoiser = build_denoiser(config)
    denoiser.out_gain.data.fill_(0.3)
    path = tmp_path_factory.mktemp("bench") / "best.safetensors"
    Checkpoint(config, denoiser, {}).save(path)
    return path


SHORT = Plan(tile=96, halo=32, rounds=2, compiled=False, scaling=False, memory=False)


def test_everything_is_measured_and_goes_into_the_model_card(
    checkpoint: Path, tmp_path: Path
) -> None:
    result = bench(checkpoint, SamplerSettings(2, 2, 0.0), SHORT)
    paths = write_results(result, tmp_path)
    assert {"bench.txt", "bench.json"} <= {p.name for p in paths}
    read = json.loads((tmp_path / "bench.json").read_text())
    assert set(read["pass"]) == {"eager", "channels_last", "torchscript", "onnx"}
    assert set(read["graph"]) == set(read["seconds_per_megapixel"])
    assert set(read["overhead"]) == {"eager", "torchscript", "onnx"}
    assert set(read["noise_share"]) == {"torchscript", "onnx"}
    assert read["missing"]["pass"] == {"compiled": "not asked for (--compile)"}
    for engine, row in read["graph"].items():
        assert row["low"] <= row["median"] <= row["high"]
        per = row["median"] / (96 - 2 * 32) ** 2 * 1e6
        assert read["seconds_per_megapixel"][engine] == pytest.approx(per, rel=1e-3)
    one, care = read["care"]["parameters"].values()
    assert one == pytest.approx(care, rel=0.1)
    speed = {(s.engine, s.passes): s for s in speed_in(tmp_path / "bench.json")}
    engines = ("PyTorch", "TorchScript", "ONNX Runtime")
    assert set(speed) == {(engine, passes) for engine in engines for passes in (4, 1)}
    one_pass = speed["ONNX Runtime", 1].seconds_per_megapixel
    assert one_pass == pytest.approx(read["pass"]["onnx"]["median"] / 32**2 * 1e6, rel=5e-3)
    assert "The whole sampler" in (tmp_path / "bench.txt").read_text()


@pytest.mark.parametrize("library", ["diffusers", "monai"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_other_loops_make_as_many_passes(checkpoint: Path, library: str, eta: float) -> None:
    pytest.importorskip(library)
    from bmz_ddpm.bench.peers import LOOPS

    run, network = LOOPS[library](Checkpoint.load(checkpoint), 3, 2, eta, torch.zeros(1, 1, 16, 16))
    with torch.inference_mode():
        mean, std = run()
    assert network.passes == 3 * 2
    assert mean.shape == std.shape == (1, 1, 16, 16)


def test_our_sampler_makes_steps_times_samples_passes(checkpoint: Path) -> None:
    sampler = Checkpoint.load(checkpoint).sampler(SamplerSettings(3, 4, 0.0, samples_per_pass=2))
    passes: list[int] = []
    sampler.unet.register_forward_hook(lambda *args: passes.append(args[1][0].shape[0]))
    sampler(torch.from_numpy(photons(16, 16)))
    assert passes == [2] * 6


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is neither a checkpoint nor a package"):
        open_subject(tmp_path / "no.txt", SamplerSettings(1, 1, 0.0), tmp_path)
    (tmp_path / "a.zip").write_text("no")
    with pytest.raises(CheckpointError, match=r"a\.zip: is not a readable zip file"):
        open_subject(tmp_path / "a.zip", SamplerSettings(1, 1, 0.0), tmp_path)
    (tmp_path / "rdf.yaml").touch()
    with pytest.raises(CheckpointError, match=r"holds no .*\.pt"):
        open_subject(tmp_path, SamplerSettings(1, 1, 0.0), tmp_path)
    with pytest.raises(ConfigError, match="--profile instant: is one pass"):
        bench(tmp_path, SamplerSettings(1, 1, 0.0, one_pass=True), SHORT)


def test_times_are_read_from_results_of_bench_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.json: cannot be read"):
        speed_in(tmp_path / "no.json")
    for content in ("{}", "[]", "no"):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(ConfigError, match="is not a result of bmz-ddpm bench"):
            speed_in(tmp_path / "a.json")


def test_long_samplers_run_in_onnx_runtime(checkpoint: Path) -> None:
    loaded = Checkpoint.load(checkpoint)
    image = photons(32, 32)
    sampler = loaded.sampler(SamplerSettings(2, WORTH // 2, 0.0))
    backend, engine = fastest_backend(sampler, "cpu")
    assert engine == "onnx"
    assert compare(torch_backend(sampler)(image), backend(image), 255.0).passed
    assert fastest_backend(loaded.sampler(SamplerSettings(1, 2, 0.0)), "cpu")[1] == "eager"


@pytest.mark.parametrize(("gain", "half"), [(1e-3, True), (100.0, False)])
def test_bfloat16_only_within_tolerance(checkpoint: Path, gain: float, half: bool) -> None:
    """The recording of a CUDA graph is replaced: all around it is the code that runs on a GPU."""
    sampler = Checkpoint.load(checkpoint).sampler(SamplerSettings(2, 2, 0.0))
    sampler.unet.conv_out.weight *= gain
    image = torch.from_numpy(photons(32, 32))
    recorded: list[tuple[torch.Size, ...]] = []

    def record(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> nn.Module:
        recorded.append(tuple(t.shape for t in inputs))
        return network

    fast = accelerated(sampler, image, record)
    assert (type(fast.unet.network).__name__ == "HalfWidth") is half
    reference = sampler(image)[0]
    assert float((fast(image)[0] - reference).abs().max()) < 2e-3 * 255 + 1e-3
    assert len(set(recorded)) == 1  # one size of tile, one recording per network


@pytest.mark.parametrize(
    ("limit", "together"), [(0, 1), (299, 1), (300, 2), (450, 3), (699, 4), (10**9, 12)]
)
def test_as_many_samples_together_as_memory_allows(
    checkpoint: Path, limit: int, together: int
) -> None:
    """A GPU's memory is replaced: 100 bytes, and 100 more a sample; divisors of 12 count."""
    sampler = Checkpoint.load(checkpoint).sampler(SamplerSettings(2, 12, 0.0))
    image = torch.from_numpy(photons(32, 32))
    passes: list[int] = []
    sampler.unet.register_forward_hook(lambda *args: passes.append(args[1][0].shape[0]))

    def memory(call: Callable[[], object]) -> int:
        passes.clear()
        call()
        assert len(passes) == 1  # one step is enough to see
        return 100 + 100 * passes[0]

    filled = batched(sampler, image, limit, memory)
    passes.clear()
    results = filled(image)
    assert passes == [together] * (2 * 12 // together)
    for result, expected in zip(results[:2], sampler(image)[:2], strict=True):
        torch.testing.assert_close(result, expected, atol=255 * 1e-5, rtol=1e-4)
    assert sampler.draws.shape == (12, 1)


def test_memory_is_that_of_the_process_alone(checkpoint: Path, tmp_path: Path) -> None:
    """256 MiB held here do not count there."""
    held = torch.ones(2**26)
    subject = open_subject(checkpoint, SamplerSettings(1, 1, 0.0), tmp_path)
    small, large = (peak_memory(subject.files["onnx"], side, 1, 1) for side in (32, 512))
    assert held.numel() == 2**26
    assert small[0] == pytest.approx(large[0], rel=0.05)
    assert large[1] - large[0] > 4 * max(small[1] - small[0], 1)


@pytest.mark.slow
def test_memory_hardly_grows_with_samples(checkpoint: Path, tmp_path: Path) -> None:
    """4 and 64 samples of one step on a tile of 256 pixels: within 10 %."""
    peaks: dict[str, list[float]] = {}
    for samples in (4, 64):
        place = tmp_path / str(samples)
        subject = open_subject(checkpoint, SamplerSettings(1, samples, 0.0), place)
        for engine, path in subject.files.items():
            peaks.setdefault(engine, []).append(peak_memory(path, 256, 1, 1)[1])
    for few, many in peaks.values():
        assert many == pytest.approx(few, rel=0.1)
