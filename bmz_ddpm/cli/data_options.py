"""Options that say which images a verb works on; the same in train, prepare and evaluate."""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .option_groups import takes
from .options import Axes, Channel, selection

if TYPE_CHECKING:
    from ..data.datasets import DataSet
    from ..data.pairs import Pair


@dataclass(frozen=True)
class Images:
    """The options as given on the command line; a verb takes them as its parameter `images`."""

    pairs: Annotated[
        Path,
        typer.Argument(help="Folder with low/ and high/, or laid out as FMD, or a CSV file."),
    ]
    root: Annotated[
        Path | None, typer.Option(help="Folder that the paths in the CSV start from.")
    ] = None
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="CSV rows to use, COLUMN=VALUE[,VALUE…]; for FMD type=… or fov=…; may be repeated."
        ),
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A data set of the paper, with its split: microtubules, mitochondria, synapses or "
            "zebrafish."
        ),
    ] = None
    layout: Annotated[
        Literal["auto", "pairs", "csv", "fmd"], typer.Option(help="How the images lie on the disk.")
    ] = "auto"
    split_file: Annotated[
        Path | None,
        typer.Option(help="CSV file with columns fov and split (train, val, test)."),
    ] = None
    noise: Annotated[
        list[str] | None,
        typer.Option(help="FMD: raw, avg2, avg4, avg8 or avg16; may be repeated. Default: raw."),
    ] = None
    captures: Annotated[
        int | None, typer.Option(min=1, help="FMD: captures per field of view. Default: all.")
    ] = None
    axes: Axes = ""
    channel: Channel = ""
    low_channel: Annotated[str, typer.Option(help="The same, for the noisy images only.")] = ""
    high_channel: Annotated[str, typer.Option(help="The same, for the clean images only.")] = ""
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable", help="Leave out pairs that cannot be read, with a warning each."
        ),
    ] = False

    def description(self) -> DataSet | None:
        """Return the data set named by --dataset."""
        from ..data.datasets import load_dataset

        return load_dataset(self.dataset) if self.dataset else None

    def find(
        self, splits: Collection[str] = ("train", "val"), *, match: bool = False
    ) -> list[Pair]:
        """List the pairs; with --skip-unreadable read them, and warn of each that is left out.

        Parameters
        ----------
        splits : collection of str
            Out of "train", "val" and "test".
        match : bool
            Whether the clean images will be matched to the noisy ones.

        Raises
        ------
        UserError
            As `find_pairs` and `skip_unreadable` do.
        """
        from ..data.pairs import SPLITS, find_pairs

        dataset = self.description()
        search = functools.partial(
            find_pairs,
            self.pairs,
            self.root,
            selection(self.select or []),
            layout=self.layout,
            dataset=dataset,
            split_file=self.split_file,
            noise=_several(self.noise),
            captures=self.captures,
            axes=self.axes,
            low_channel=self.low_channel or self.channel,
            high_channel=self.high_channel or self.channel,
        )
        found = search(splits=splits)
        if dataset:
            fields = len({pair.fov for pair in search(splits=SPLITS)})
            if fields != dataset.fields:
                sys.stderr.write(
                    f"note: {dataset.name}: {fields} fields of view are here, the paper has "
                    f"{dataset.fields}.\n"
                )
        if self.skip_unreadable:
            from ..data.planes import skip_unreadable

            found, problems = skip_unreadable(found, match)
            for problem in problems:
                sys.stderr.write(f"warning: skipped: {problem}.\n")
        return found


takes_images = takes(Images)


def _several(items: list[str] | None) -> list[str]:
    return [part for item in items or [] for part in item.split(",")]
