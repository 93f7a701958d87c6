"""Rules about the insides of TorchScript and ONNX files, for the engines people have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .findings import ALL, Broken, blocks, rule, warns
from .jdll import weights_choice
from .package import Package
from .weights_files import later_operators, libtorch_operators

RANDOM_TORCH = {"rand", "randn", "rand_like", "randn_like", "randint", "normal", "bernoulli"}
#: Newest that Fiji's ONNX Runtime 1.13.1 and the zoo's 1.20.1 read.
OPSET_FIJI, OPSET_ZOO, IR_FIJI = 17, 20, 8
_TORCH_PROGRAMS = ("fiji", "ilastik", "core", "qupath", "zoo")


@rule("torchscript-archive", ALL)
def torchscript_is_an_archive(package: Package) -> Iterator[Broken]:
    """Not a state dict under another name."""
    if package.weights_file("torchscript") is not None and package.torchscript is None:
        yield Broken(
            str(package.weights["torchscript"]["source"]),
            "holds no program",
            "a TorchScript file is written by torch.jit.save",
            "export it again with torch.jit",
        )


@rule("torchscript-operators", blocks("fiji"))
def fiji_knows_the_operators(package: Package) -> Iterator[Broken]:
    """Fiji has libtorch 1.13.1 or 2.0.0."""
    script = package.torchscript
    unknown = sorted(script.operators - libtorch_operators()) if script else []
    if unknown:
        yield Broken(
            "torchscript",
            f"uses {', '.join(unknown)}",
            "libtorch 1.13.1 and 2.0.0 do not both know it, so the file does not load",
            "write this part with older operators and export again",
            harmless=weights_choice(package) != "torchscript",
        )


@rule("torchscript-operators-ilastik", blocks("ilastik"))
def ilastik_knows_the_operators(package: Package) -> Iterator[Broken]:
    """ilastik 1.4.2 has PyTorch 2.7, and takes TorchScript where there is one."""
    yield from _unknown(_too_new(package), _TOO_NEW, False)


@rule("torchscript-operators-zoo", blocks("zoo"))
def zoo_knows_the_operators(package: Package) -> Iterator[Broken]:
    """BioEngine has PyTorch 2.5.1, and tries one format after the other."""
    yield from _unknown(_too_new(package), _TOO_NEW, _has_others(package))


@rule("torchscript-operators-qupath", warns("qupath"))
def qupath_may_know_the_operators(package: Package) -> Iterator[Broken]:
    """Which PyTorch it has depends on its version and on what people installed."""
    yield from _unknown(_too_new(package) - _custom(package), _TOO_NEW, False)


@rule("torchscript-custom", blocks("qupath"))
def operators_come_with_torch(package: Package) -> Iterator[Broken]:
    """Those of a library are known only where somebody has imported it."""
    yield from _unknown(_custom(package), _CUSTOM, False)


@rule("torchscript-custom-core", blocks("core"))
def core_knows_the_operators(package: Package) -> Iterator[Broken]:
    """The same for bioimageio.core, which runs with any PyTorch and tries every format."""
    yield from _unknown(_custom(package), _CUSTOM, _has_others(package))


_TOO_NEW = "PyTorch 2.5.1 and 2.7.0 do not both know it, so the file does not load"
_CUSTOM = "PyTorch alone does not know it, so the file does not load"


def _unknown(operators: Iterable[str], because: str, harmless: bool) -> Iterator[Broken]:
    names = ", ".join(sorted(operators))
    if names:
        fix = "write this part with older operators and export again"
        yield Broken("torchscript", f"uses {names}", because, fix, harmless)


def _too_new(package: Package) -> frozenset[str]:
    return package.torchscript.operators - later_operators() if package.torchscript else frozenset()


def _custom(package: Package) -> frozenset[str]:
    return package.torchscript.custom if package.torchscript else frozenset()


def _has_others(package: Package) -> bool:
    return bool({"pytorch_state_dict", "onnx"} & set(package.weights))


@rule("torchscript-parameters", warns("fiji", "ilastik", "qupath"))
def torchscript_is_not_frozen(package: Package) -> Iterator[Broken]:
    """Constants stay behind when the model moves to a GPU."""
    script = package.torchscript
    if script and script.parameters == 0:
        yield Broken(
            "torchscript",
            "has 0 parameters (was it frozen?)",
            "its numbers cannot be moved to a GPU",
            "save it without torch.jit.freeze",
        )


@rule("torchscript-cuda", blocks(*_TORCH_PROGRAMS))
def torchscript_needs_no_gpu(package: Package) -> Iterator[Broken]:
    """Most computers have none."""
    script = package.torchscript
    for device in sorted(script.devices) if script else []:
        if device.startswith("cuda"):
            yield Broken(
                "torchscript",
                f"names the device {device}",
                "it fails on a computer without this GPU",
                "take the device from the input: device=x.device",
            )


@rule("torchscript-cpu", warns("fiji", "ilastik", "qupath"))
def torchscript_follows_its_input(package: Package) -> Iterator[Broken]:
    """A tensor made on the CPU does not meet one on the GPU."""
    script = package.torchscript
    if script and "cpu" in script.devices:
        yield Broken(
            "torchscript",
            "names the device cpu",
            "it can fail on a GPU",
            "take the device from the input: device=x.device",
        )


@rule("torchscript-random", warns("core", "zoo"))
def torchscript_draws_nothing(package: Package) -> Iterator[Broken]:
    """Formats and runs will not agree."""
    script = package.torchscript
    drawn = sorted(o for o in (script.operators if script else ()) if o[6:] in RANDOM_TORCH)
    if drawn:
        yield Broken(
            "torchscript",
            f"draws random numbers ({', '.join(drawn)})",
            "the tests compare results that are never twice the same",
            "compute the noise from the image inside the model",
        )


@rule("onnx-file", ALL)
def onnx_is_a_graph(package: Package) -> Iterator[Broken]:
    """Damaged, or something else."""
    if package.weights_file("onnx") is not None and package.onnx is None:
        yield Broken(
            str(package.weights["onnx"]["source"]),
            "is no ONNX file",
            "it cannot be read",
            "export it again",
        )


@rule("onnx-opset", blocks("fiji"))
def fiji_reads_the_opset(package: Package) -> Iterator[Broken]:
    """ONNX Runtime 1.13.1 stops at 17."""
    model = package.onnx
    if model and model.opset > OPSET_FIJI:
        yield Broken(
            "onnx",
            f"opset {model.opset}",
            f"Fiji's ONNX Runtime reads up to {OPSET_FIJI}",
            f"export with opset_version={OPSET_FIJI}",
            harmless=weights_choice(package) != "onnx",
        )


@rule("onnx-opset-zoo", blocks("zoo"))
def zoo_reads_the_opset(package: Package) -> Iterator[Broken]:
    """ONNX Runtime 1.20.1 was tried up to 20."""
    model = package.onnx
    if model and model.opset > OPSET_ZOO:
        yield Broken(
            "onnx",
            f"opset {model.opset}",
            f"the zoo's ONNX Runtime was tried up to {OPSET_ZOO}",
            f"export with opset_version={OPSET_FIJI}",
        )


@rule("onnx-ir", blocks("fiji"))
def fiji_reads_the_file_version(package: Package) -> Iterator[Broken]:
    """ONNX Runtime 1.13.1 stops at 8."""
    model = package.onnx
    if model and model.ir > IR_FIJI:
        yield Broken(
            "onnx",
            f"IR version {model.ir}",
            f"Fiji's ONNX Runtime reads up to {IR_FIJI}",
            f"set model.ir_version = {IR_FIJI} before saving",
            harmless=weights_choice(package) != "onnx",
        )


@rule("onnx-declared", warns("core", "zoo", "fiji"))
def opset_is_the_declared_one(package: Package) -> Iterator[Broken]:
    """The rdf should not lie."""
    model, declared = package.onnx, package.weights.get("onnx", {}).get("opset_version")
    if model and isinstance(declared, int) and declared != model.opset:
        yield Broken(
            "weights.onnx.opset_version",
            str(declared),
            f"the file says {model.opset}",
            f"write opset_version: {model.opset}",
        )


@rule("onnx-operators", blocks("fiji"))
def fiji_knows_the_onnx_operators(package: Package) -> Iterator[Broken]:
    """Newer than opset 17, or of somebody's own."""
    model = package.onnx
    new = (
        model.domains
        | {o for o in model.operators if o.startswith("Bitwise") or o == "GroupNormalization"}
        if model
        else set()
    )
    if new:
        yield Broken(
            "onnx",
            f"uses {', '.join(sorted(new))}",
            "Fiji's ONNX Runtime does not know it",
            "write this part with operators of opset 17",
            harmless=weights_choice(package) != "onnx",
        )


@rule("onnx-random", warns("core", "zoo"))
def onnx_draws_nothing(package: Package) -> Iterator[Broken]:
    """ONNX Runtime is never given a seed."""
    model = package.onnx
    drawn = sorted(o for o in model.operators if o.startswith("Random")) if model else []
    if drawn:
        yield Broken(
            "onnx",
            f"draws random numbers ({', '.join(drawn)})",
            "the tests compare results that are never twice the same",
            "compute the noise from the image inside the model",
        )


@rule("onnx-one-file", blocks("fiji", "zoo"))
def onnx_is_one_file(package: Package) -> Iterator[Broken]:
    """Weights in a second file are not found."""
    model = package.onnx
    if model and model.external:
        yield Broken(
            "onnx",
            "keeps weights in a second file",
            "it is not found by these programs",
            "save the model as one file",
        )
