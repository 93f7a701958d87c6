"""The options about images, as train takes them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import tifffile
import typer
from conftest import write_pairs

from bmz_ddpm.cli.data_options import Images, takes_images
from bmz_ddpm.cli.main import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bmz-ddpm", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def rows(out: str) -> list[list[str]]:
    """Return split and name of the pairs that --dry-run prints."""
    return [line.split("\t")[:2] for line in out.splitlines() if "\t" in line]


def test_a_data_set_by_its_name(call: Call, tmp_path: Path) -> None:
    write_pairs(tmp_path, "abcdef")
    code, out, err = call("train", tmp_path, "--dataset", "synapses", "--dry-run")
    assert code == 0
    assert sorted(split for split, _ in rows(out)) == ["train"] * 4 + ["val"]
    first, second = err.splitlines()
    assert first == "note: synapses: 6 fields of view are here, the paper has 24."
    assert second == (
        "note: synapses: the paper aligned these pairs first, as bmz-ddpm prepare does; train "
        "takes them as they are."
    )
    code, out, err = call("train", tmp_path, "--dataset", "synapse", "--dry-run")
    assert (code, out) == (1, "")
    assert err.startswith("error: data set 'synapse': is unknown (did you mean 'synapses'?).\n")


def test_noise_levels_and_captures_of_fmd(call: Call, tmp_path: Path) -> None:
    for field in ("1", "2"):
        for level, count in (("raw", 3), ("avg2", 3), ("gt", 1)):
            (tmp_path / level / field).mkdir(parents=True)
            for i in range(count):
                (tmp_path / level / field / f"{i}.png").touch()
    given = ("--noise", "raw,avg2", "--captures", 2, "--select", "fov=1,2", "--layout", "fmd")
    code, out, _ = call("train", tmp_path, *given, "--dry-run")
    assert code == 0
    name = tmp_path.name
    assert rows(out) == [["val", f"{name}/1"]] * 4 + [["train", f"{name}/2"]] * 4
    code, _, err = call("train", tmp_path, "--noise", "avg", "--dry-run")
    assert code == 1
    assert err.startswith("error: noise level 'avg': is unknown (did you mean 'avg8'?).")


def test_a_split_file_and_a_wrong_selection(call: Call, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (tmp_path / "split.csv").write_text("fov,split\na,train\nb,val\nc,test\n")
    code, out, _ = call("train", tmp_path, "--split-file", tmp_path / "split.csv", "--dry-run")
    assert (code, rows(out)) == (0, [["train", "a"], ["val", "b"]])
    code, _, err = call("train", tmp_path, "--select", "fov", "--dry-run")
    assert code == 1
    assert err == "error: --select fov: is not COLUMN=VALUE.\nfix:   e.g. --select fov=3,4.\n"
    code, _, err = call("train", tmp_path, "--axes", "zy", "--dry-run")
    assert code == 1
    assert err.startswith("error: axes 'zy': must be different letters out of t, z, c, y and x")


def test_unreadable_pairs_are_skipped_only_if_asked(call: Call, tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", "abcd")
    cut = tmp_path / "pairs" / "low" / "c.tif"
    cut.write_bytes(cut.read_bytes()[:2000])
    quick = ("--size", "tiny", "--steps", 1, "--patch", 16, "--batch-size", 1)
    given = ("train", tmp_path / "pairs", "--out", tmp_path / "run", *quick)
    code, out, err = call(*given)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {cut}: is not a readable image (")
    code, out, err = call(*given, "--skip-unreadable")
    assert code == 0, err
    warning = next(line for line in err.splitlines() if line.startswith("warning: "))
    assert warning.startswith(f"warning: skipped: {cut}: is not a readable image (")
    assert out.split()[-1] == str(tmp_path / "run" / "final.safetensors")
    only = tmp_path / "pairs" / "high" / "a.tif"
    only.write_bytes(b"II*")
    code, out, err = call(*given, "--skip-unreadable")
    assert (code, out) == (1, "")
    assert err.startswith("error: none of the 1 pairs for validation can be used; the first ")


def test_a_model_of_one_channel(call: Call, tmp_path: Path) -> None:
    """--channel reaches the training: of images with two channels one goes in."""
    stack = np.random.default_rng(0).poisson(100, (2, 40, 40)).astype(np.uint16)
    metadata = {"axes": "CYX", "Labels": ["DAPI", "GFP"]}
    for kind in ("low", "high"):
        (tmp_path / kind).mkdir()
        for name in "ab":
            tifffile.imwrite(tmp_path / kind / f"{name}.tif", stack, imagej=True, metadata=metadata)
    quick = ("--size", "tiny", "--steps", 1, "--patch", 16, "--batch-size", 1)
    given = ("train", tmp_path, "--out", tmp_path / "run", *quick)
    code, _, err = call(*given, "--channel", "GFP")
    assert code == 0, err
    from bmz_ddpm.train.checkpoint import Checkpoint

    model = Checkpoint.load(tmp_path / "run" / "final.safetensors").config
    assert (model.in_channels, model.out_channels) == (1, 1)
    code, _, err = call(*given, "--channel", "GFPP")
    assert code == 1
    assert "has no channel 'GFPP' (did you mean 'GFP'?), its channels are 1 (DAPI), 2 (GFP)" in err


def test_low_and_high_channels_replace_the_common_one(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    found = Images(tmp_path, channel="1", high_channel="2").find()
    assert {(p.low_channel, p.high_channel) for p in found} == {("1", "2")}


def test_a_verb_keeps_its_own_parameters() -> None:
    app = typer.Typer()
    seen = []

    @app.command()
    @takes_images
    def verb(
        images: Images,
        target: Annotated[Path, typer.Argument()],
        times: Annotated[int, typer.Option()] = 1,
    ) -> None:
        """Say something."""
        seen.append((images, target, times))

    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["in", "out", "--axes", "zyx", "--times", "3"])
    assert result.exit_code == 0, result.output
    assert seen == [(Images(Path("in"), axes="zyx"), Path("out"), 3)]
    assert verb.__doc__ == "Say something."
