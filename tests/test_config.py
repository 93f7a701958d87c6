"""Settings: read from TOML, checked one by one, refused in clear words."""

from __future__ import annotations

from pathlib import Path

import pytest

from bmz_ddpm.about import AboutConfig, load_about
from bmz_ddpm.config import TrainConfig, load_train_config
from bmz_ddpm.config import make_train_config as make
from bmz_ddpm.errors import ConfigError, did_you_mean

TRAIN = ", ".join(TrainConfig.model_fields)
AUGMENT = (
    "simulated, gain, zoom, rotate, brightness, synthetic, correlation, blur, flips, filtered, "
)
AUGMENT += "filter_sigma"
PERSON = "name, affiliation, github_user, orcid"


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, load=load_train_config) -> tuple[str, str]:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.problem, caught.value.fix


def test_settings_are_read(tmp_path: Path) -> None:
    path = toml(tmp_path, 'size = "tiny"\nema = 0.1\n[augment]\nsimulated = 0.5\ngain = [1, 2]\n')
    config = load_train_config(path)
    assert (config.size, config.ema, config.augment.simulated) == ("tiny", 0.1, 0.5)
    assert config.augment.gain == (1.0, 2.0)
    left_out = {"size", "ema", "augment"}
    assert config.model_dump(exclude=left_out) == TrainConfig().model_dump(exclude=left_out)
    assert load_train_config(toml(tmp_path, "")) == TrainConfig()


def test_settings_survive_being_stored(tmp_path: Path) -> None:
    config = make({"steps": 7, "augment": {"blur": 0, "zoom": [1, 1]}}, "options")
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("text", "message", "known"),
    [
        ("step = 5", "unknown setting 'step' (did you mean 'steps'?)", TRAIN),
        ("banana = 5", "unknown setting 'banana'", TRAIN),
        (
            "[augment]\nrotation = 90",
            "unknown setting 'augment.rotation' (did you mean 'rotate'?)",
            AUGMENT,
        ),
        ("[augment]\nbanana = 1", "unknown setting 'augment.banana'", AUGMENT),
    ],
)
def test_an_unknown_setting(tmp_path: Path, text: str, message: str, known: str) -> None:
    path = toml(tmp_path, text)
    assert refused(path) == (f"{path}: {message}", f"known are {known}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('steps = "many"', "steps = 'many': input should be a valid integer"),
        ("steps = 0", "steps = 0: input should be greater than or equal to 1"),
        ("steps = 2.5", "steps = 2.5: input should be a valid integer"),
        ('size = "huge"', "size = 'huge': input should be 'tiny', 'small' or 'paper'"),
        ('prediction = "x"', "prediction = 'x': input should be 'eps', 'v', 'x0' or 'flow'"),
        ("patch = 8", "patch = 8: input should be greater than or equal to 16"),
        ("patch = 20", "patch = 20: input should be a multiple of 8"),
        ("learning_rate = 0", "learning_rate = 0: input should be greater than 0"),
        ("learning_rate = inf", "learning_rate = inf: input should be less than or equal to 1"),
        ("learning_rate = nan", "learning_rate = nan: input should be"),
        ("ema = 0.3", "ema = 0.3: input should be less than 0.28"),
        ("seed = -1", "seed = -1: input should be greater than or equal to 0"),
        ("seed = 4294967296", "seed = 4294967296: input should be less than 4294967296"),
        ("augment = 3", "augment = 3: input should be a valid dictionary"),
        (
            "[augment]\nsimulated = 1.5",
            "augment.simulated = 1.5: input should be less than or equal to 1",
        ),
        ("[augment]\nblur = 6", "augment.blur = 6: input should be less than or equal to 5"),
        ("[augment]\nzoom = 2", "augment.zoom = 2: input should be a valid tuple"),
        ("[augment]\nzoom = [1]", "augment.zoom.1 is missing: field required"),
    ],
)
def test_an_impossible_setting(tmp_path: Path, text: str, message: str) -> None:
    path = toml(tmp_path, text)
    problem, fix = refused(path)
    assert problem.startswith(f"{path}: {message}")
    assert "\n" not in problem
    assert fix == "correct the value"


@pytest.mark.parametrize("name", ["gain", "zoom", "brightness"])
@pytest.mark.parametrize("limits", [[0.0, 1.0], [-1.0, 1.0], [2.0, 1.0], [1.0, float("inf")]])
def test_a_range_goes_up_from_above_zero(name: str, limits: list[float]) -> None:
    with pytest.raises(ConfigError) as caught:
        make({"augment": {name: limits}}, "options")
    assert caught.value.problem == (
        f"options: augment.{name} = {limits}: must be two numbers above 0, the smaller first"
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    for load in (load_train_config, load_about):
        assert refused(missing, load) == (
            f"{missing}: cannot be read (No such file or directory)",
            "check the path",
        )
    assert refused(tmp_path) == (f"{tmp_path}: cannot be read (Is a directory)", "check the path")


@pytest.mark.parametrize("data", [b"steps 5\n", b"steps = [\n", b"\xff\xfe\x00\x01"])
def test_what_is_no_toml(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(data)
    for load in (load_train_config, load_about):
        problem, fix = refused(path, load)
        assert problem.startswith(f"{path}: is not a TOML file (")
        assert "\n" not in problem
        assert fix == "correct that line"


def test_paths_of_a_description_start_from_its_folder(tmp_path: Path) -> None:
    about = load_about(toml(tmp_path, 'image = "raw.tif"\nreference = "clean/a.tif"\n'))
    assert about.image == tmp_path / "raw.tif"
    assert about.reference == tmp_path / "clean" / "a.tif"
    absolute = tmp_path / "elsewhere" / "raw.tif"
    assert load_about(toml(tmp_path, f"image = '{absolute}'")).image == absolute
    assert load_about(toml(tmp_path, 'image = "raw.tif"')).reference is None


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("", "image is missing: field required", "correct the value"),
        (
            'image = "a.tif"\nauthor = 1',
            "unknown setting 'author' (did you mean 'authors'?)",
            f"known are {', '.join(AboutConfig.model_fields)}",
        ),
        (
            'image = "a.tif"\n[[authors]]\nname = "A"\norchid = "0"',
            "unknown setting 'authors.0.orchid' (did you mean 'orcid'?)",
            f"known are {PERSON}",
        ),
        (
            'image = "a.tif"\n[[authors]]\norcid = "0"',
            "authors.0.name is missing: field required",
            "correct the value",
        ),
        (
            'image = "a.tif"\nname = "Net"',
            "name = 'Net': string should have at least 5 characters",
            "correct the value",
        ),
        (
            'image = "a.tif"\nname = "Cells: denoised"',
            "name = 'Cells: denoised': string should match pattern",
            "correct the value",
        ),
        (
            'image = "a.tif"\ndescription = ""',
            "description = '': string should have at least 1 character",
            "correct the value",
        ),
        ("image = 5", "image = 5: input is not a valid path", "correct the value"),
    ],
)
def test_a_wrong_description(tmp_path: Path, text: str, message: str, fix: str) -> None:
    path = toml(tmp_path, text)
    problem, found = refused(path, load_about)
    assert problem.startswith(f"{path}: {message}")
    assert found == fix


def test_did_you_mean() -> None:
    assert did_you_mean("stpes", ["steps", "seed"]) == " (did you mean 'steps'?)"
    assert did_you_mean("banana", ["steps", "seed"]) == ""
