"""All commands, put together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from maskwright import __version__
from maskwright.cli.convert import convert
from maskwright.cli.data_check import check
from maskwright.cli.data_convert import convert_dataset
from maskwright.cli.data_show import show
from maskwright.cli.demo import demo
from maskwright.cli.evaluate import evaluate
from maskwright.cli.inspect import inspect
from maskwright.cli.predict import predict
from maskwright.cli.recipes import recipes
from maskwright.cli.train import train
from maskwright.errors import ConfigError


def _version(is_asked: bool) -> None:
    if is_asked:
        print(f"maskwright {__version__}")
        raise typer.Exit


def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Instance segmentation: train on your own images, see how good the model is, get masks for new images."""
    assert not version  # its callback has left
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and context.invoked_subcommand != "train":
        raise ConfigError(
            f"several processes (WORLD_SIZE={os.environ['WORLD_SIZE']}) would each do all of `maskwright "
            f"{context.invoked_subcommand}` and write the same files; only train shares its work: start this without "
            "torchrun, or unset WORLD_SIZE"
        )


def _without_types_of_flags(options: Sequence[object]) -> None:
    """An option that takes no value shows none in the help, where typer writes `<bool>`."""
    for option in options:
        if isinstance(option, TyperOption) and option.is_flag:
            option.metavar = ""


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        _without_types_of_flags(parameters)
        return parameters


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        _without_types_of_flags(parameters)
        return parameters


app = typer.Typer(
    cls=_Group,
    name="maskwright",
    callback=_top,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for _command in (demo, predict, evaluate, train, recipes, inspect, convert):
    app.command(cls=_Command)(_command)

_data = typer.Typer(cls=_Group, help="Verify a dataset, convert it, look at it.", no_args_is_help=True)
_data.command(cls=_Command)(check)
_data.command(cls=_Command)(show)
_data.command("convert", cls=_Command)(convert_dataset)
app.add_typer(_data, name="data")
