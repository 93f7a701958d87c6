"""Rules about weights: which formats, how they are declared, what is in the files."""

from __future__ import annotations

from collections.abc import Iterator

from .architecture import TORCHVISION, WITH_CORE, WITH_ILASTIK, WITH_ZOO, libraries
from .findings import ALL, Broken, blocks, rule, warns
from .jdll import VERSION_KEYS, weights_choice
from .package import Package


@rule("weights", ALL)
def has_weights(package: Package) -> Iterator[Broken]:
    """At least one format."""
    if not package.weights:
        yield Broken("weights", "none", "there is nothing to run", "add a weights format")


@rule("weights-fiji", blocks("fiji"))
def fiji_has_an_engine(package: Package) -> Iterator[Broken]:
    """Fiji reads TorchScript, ONNX and TensorFlow."""
    if package.weights and weights_choice(package) is None:
        yield Broken(
            "weights", ", ".join(package.weights), "Fiji has no engine for these", "add torchscript"
        )


@rule("weights-ilastik", blocks("ilastik"))
def ilastik_has_an_engine(package: Package) -> Iterator[Broken]:
    """ilastik has PyTorch alone."""
    if package.weights and not {"torchscript", "pytorch_state_dict"} & set(package.weights):
        yield Broken(
            "weights",
            ", ".join(package.weights),
            "ilastik runs only torchscript and pytorch_state_dict",
            "add torchscript",
        )


@rule("weights-qupath", blocks("qupath"))
def qupath_has_an_engine(package: Package) -> Iterator[Broken]:
    """QuPath runs what its Java library can load."""
    if package.weights and not set(VERSION_KEYS) & set(package.weights):
        yield Broken(
            "weights",
            ", ".join(package.weights),
            "QuPath has no engine for these",
            "add torchscript",
        )


@rule("fiji-takes-onnx", warns("fiji"))
def fiji_takes_torchscript(package: Package) -> Iterator[Broken]:
    """Its ONNX engine has no GPU."""
    if "torchscript" in package.weights and weights_choice(package) == "onnx":
        version = package.weights["torchscript"].get("pytorch_version")
        yield Broken(
            "weights.torchscript.pytorch_version",
            str(version),
            "with this version Fiji takes onnx, which never uses the GPU",
            "if the file loads in PyTorch 2.0.0, write pytorch_version: 2.0.0",
        )


@rule("pytorch-version", blocks("core", "zoo", "ilastik"))
def pytorch_version_is_given(package: Package) -> Iterator[Broken]:
    """Required by the format."""
    for name in ("torchscript", "pytorch_state_dict"):
        entry = package.weights.get(name)
        if entry is not None and not entry.get("pytorch_version") and _is_new(package):
            yield Broken(
                f"weights.{name}",
                "has no pytorch_version",
                "format 0.5 asks for it",
                "write the oldest version that loads the file",
            )


@rule("opset-version", blocks("core", "zoo"))
def opset_version_is_given(package: Package) -> Iterator[Broken]:
    """Required by the format."""
    entry = package.weights.get("onnx")
    if entry is not None and not entry.get("opset_version") and _is_new(package):
        yield Broken(
            "weights.onnx",
            "has no opset_version",
            "format 0.5 asks for it",
            "write the file's opset",
        )


@rule("architecture", blocks("core", "zoo"))
def state_dict_has_its_architecture(package: Package) -> Iterator[Broken]:
    """Numbers alone cannot be run."""
    entry = package.weights.get("pytorch_state_dict")
    if entry is not None and not entry.get("architecture"):
        yield Broken(
            "weights.pytorch_state_dict",
            "has no architecture",
            "the numbers alone cannot be run",
            "add the Python file that builds the network",
        )


@rule("architecture-core", blocks("core"))
def core_has_the_libraries(package: Package) -> Iterator[Broken]:
    """A network that is built by somebody's library."""
    yield from _absent(
        package, WITH_CORE | {TORCHVISION}, "bioimageio.core", ("torchscript", "onnx")
    )


@rule("architecture-ilastik", blocks("ilastik"))
def ilastik_has_the_libraries(package: Package) -> Iterator[Broken]:
    """The same for ilastik, which people do not install into."""
    yield from _absent(package, WITH_ILASTIK, "ilastik", ("torchscript",))


@rule("architecture-zoo", blocks("zoo"))
def zoo_has_the_libraries(package: Package) -> Iterator[Broken]:
    """The same for BioEngine, which has a few more."""
    yield from _absent(package, WITH_ZOO, "the zoo's BioEngine", ("torchscript", "onnx"))


def _absent(
    package: Package, present: set[str], program: str, others: tuple[str, ...]
) -> Iterator[Broken]:
    absent = sorted(libraries(package) - present)
    if absent:
        yield Broken(
            "weights.pytorch_state_dict.architecture",
            f"needs {', '.join(absent)}",
            f"{program} does not bring this along",
            "add torchscript, or use only torch and numpy in the architecture file",
            harmless=any(name in package.weights for name in others),
        )


@rule("architecture-torchvision", warns("core"))
def core_may_lack_torchvision(package: Package) -> Iterator[Broken]:
    """bioimageio.core brings it as an extra only."""
    if TORCHVISION in libraries(package):
        yield Broken(
            "weights.pytorch_state_dict.architecture",
            f"needs {TORCHVISION}",
            "bioimageio.core installs it only as part of bioimageio.core[pytorch]",
            "use only torch and numpy in the architecture file",
        )


@rule("parent", warns("zoo"))
def conversions_name_their_parent(package: Package) -> Iterator[Broken]:
    """Where a converted file came from."""
    if "pytorch_state_dict" not in package.weights:
        return
    for name in ("torchscript", "onnx"):
        if name in package.weights and not package.weights[name].get("parent"):
            yield Broken(
                f"weights.{name}",
                "has no parent",
                "the zoo wants to know what it was converted from",
                "write parent: pytorch_state_dict",
            )


@rule("dependencies-format", blocks("core", "ilastik", "zoo"))
def no_dependencies_of_finished_files(package: Package) -> Iterator[Broken]:
    """TorchScript and ONNX bring everything with them."""
    for name in ("torchscript", "onnx"):
        if package.weights.get(name, {}).get("dependencies"):
            yield Broken(
                f"weights.{name}.dependencies",
                "is set",
                "only pytorch_state_dict may have dependencies",
                "remove it",
            )


@rule("dependencies", blocks("zoo"))
def web_page_installs_nothing(package: Package) -> Iterator[Broken]:
    """BioEngine serves models in one environment."""
    if package.weights.get("pytorch_state_dict", {}).get("dependencies"):
        yield Broken(
            "weights.pytorch_state_dict.dependencies",
            "is set",
            "the zoo tests such a model but does not offer it for running",
            "use only torch and numpy in the architecture file",
        )


@rule("pt-name", blocks("fiji"))
def name_has_one_pt(package: Package) -> Iterator[Broken]:
    """JDLL cuts the name at ".pt"."""
    source = package.weights.get("torchscript", {}).get("source")
    if isinstance(source, str) and "://" not in source:
        name = source.split("/")[-1]
        if name.count(".pt") != 1 or not name.endswith(".pt"):
            yield Broken(
                "weights.torchscript.source",
                name,
                "Fiji wants '.pt' once, at the end",
                "rename it to weights.pt",
            )


def _is_new(package: Package) -> bool:
    return str(package.rdf.get("format_version")).startswith("0.5")
