"""Recipes: complete, what the paper and its code say, and ours as measured."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bmz_ddpm.config import AugmentConfig, TrainConfig, load_train_config, make_train_config
from bmz_ddpm.errors import ConfigError
from bmz_ddpm.train.rate import learning_rate
from bmz_ddpm.train.recipe import FOLDER, RECIPES, load_recipe

REPOSITORY = Path(__file__).parent.parent


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_states_every_setting(name: str) -> None:
    values = tomllib.loads((FOLDER / f"{name}.toml").read_text())
    assert set(values) == set(TrainConfig.model_fields)
    assert set(values["augment"]) == set(AugmentConfig.model_fields)
    assert load_recipe(name) == make_train_config(values, name)


def test_no_recipe_is_forgotten() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(RECIPES)


@pytest.mark.parametrize("name", ["paper-code", "paper-text"])
def test_what_text_and_code_agree_on(name: str) -> None:
    config = load_recipe(name)
    assert (config.size, config.patch, config.batch_size) == ("paper", 256, 8)
    assert (config.num_train_steps, config.schedule_offset) == (200, 8e-3)
    assert (config.prediction, config.label, config.loss) == ("eps", "alpha_bar", "mse")
    assert (config.learning_rate, config.weight_decay, config.ema) == (2e-4, 0, 0)
    assert (config.units, config.crops, config.noisier, config.warmup) == ("range", "grid", 0.5, 0)
    assert config.augment.simulated == 0


def test_what_text_and_code_differ_in() -> None:
    """E4, E6 and E8; the learning rate comes back after it has gone down."""
    code, text = load_recipe("paper-code"), load_recipe("paper-text")
    assert (code.noise_levels, text.noise_levels) == ("alpha_bar", "discrete")
    assert (code.shuffle, text.shuffle) == (False, True)
    assert (code.augment.flips, code.augment.filtered) == (False, 0)
    assert (text.augment.flips, text.augment.filtered) == (True, 0.5)
    rates = [learning_rate(code, step) for step in (1, 4500, 9000, 13500, 18000)]
    assert rates == pytest.approx([2e-4, 1e-4, 0, 1e-4, 2e-4], abs=1e-10)
    rates = [learning_rate(text, step) for step in (1, 45_000, 90_000)]
    assert rates == pytest.approx([2e-4, 1e-4, 0], abs=1e-10)


def test_default_is_how_the_shipped_model_was_trained() -> None:
    shipped = load_train_config(REPOSITORY / "packaging/recipes/fmd-confocal/train.toml")
    ours = load_recipe("default")
    assert ours.precision == "auto"
    assert ours.model_copy(update={"precision": shipped.precision}) == shipped


def test_a_recipe_that_does_not_exist() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("paper_code")
    assert caught.value.problem == ("--recipe paper_code: is unknown (did you mean 'paper-code'?)")
    assert caught.value.fix == (
        "known are default, paper-code, paper-text; your own settings go into a file (--config)"
    )


def test_a_file_changes_a_recipe_setting_by_setting(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("steps = 7\n[augment]\nblur = 0.5\n")
    base = load_recipe("paper-text")
    config = load_train_config(path, base)
    assert (config.steps, config.augment.blur) == (7, 0.5)
    augment = base.augment.model_copy(update={"blur": 0.5})
    assert config == base.model_copy(update={"steps": 7, "augment": augment})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shuffle": False}, 'shuffle = false needs crops = "grid"'),
        ({"batch_size": 8, "accumulate": 3}, "accumulate = 3 must divide batch_size"),
    ],
)
def test_settings_that_do_not_go_together(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_train_config(values, "options")
    assert caught.value.problem == f"options: {message}"


def test_headers_of_older_checkpoints_still_load() -> None:
    """They state fewer settings; what they leave out is what was done then."""
    old = {"size": "tiny", "steps": 5, "augment": {"simulated": 0.5, "gain": [1.0, 2.0]}}
    config = TrainConfig(**old)  # type: ignore[arg-type]
    assert (config.noise_levels, config.annealing, config.warmup) == ("log_snr", "once", 100)
    assert (config.crops, config.loss, config.augment.flips) == ("anywhere", "mse", True)
