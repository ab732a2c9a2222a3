"""All commands, put together."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

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
from maskwright.config.wording import in_our_words
from maskwright.errors import ConfigError

# click's exception, whichever copy of click this version of typer works with
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]


def run() -> int:
    """Run the command that the process was started with; returns its exit status.

    Raises:
        ConfigError: the command line cannot be understood.
        MaskwrightError: as the command does.
    """
    try:
        return app(prog_name="maskwright", standalone_mode=False) or 0  # also as python -m maskwright
    except _ClickError as error:
        _refuse_command_line(error)


def _refuse_command_line(error: Any) -> NoReturn:
    """One line in place of typer's box; the help where nothing was asked for."""
    name = error.ctx.command_path if error.ctx else "maskwright"
    if type(error).__name__ == "NoArgsIsHelpError":  # typer has no public name for it
        print(error.ctx.get_help())
        sys.exit(error.exit_code)
    raise ConfigError(f"{_in_our_words(error.format_message())}; `{name} --help` shows the right form") from error


def _in_our_words(message: str) -> str:
    """Typer's sentence about a command line; where it holds one of pydantic's, that in our words.

    >>> _in_our_words("Invalid value for '--tile': Input should be a valid integer, unable to parse")
    '--tile must be a whole number'
    >>> _in_our_words("Missing argument 'RECIPE'.")
    'argument RECIPE is missing'
    """
    what, _, found = message.removesuffix(".").partition(": ")
    if what.startswith("Invalid value for ") and found:
        words = in_our_words(found.removeprefix("Value error, "))
        name = what.removeprefix("Invalid value for ").strip("'")
        return f"{name} {words}" if words.startswith("must ") else f"{name}: {words}"
    if what.startswith("Missing "):
        return f"{what.removeprefix('Missing ')} is missing".replace("'", "")
    return message[:1].lower() + message[1:].removesuffix(".")


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


def _tidied(parameters: Sequence[Any]) -> Sequence[Any]:
    """Parameters whose types are not shown where they say nothing: `<bool>` of a flag, `<list[str]>` of an argument."""
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
        elif isinstance(parameter, TyperArgument):
            vars(parameter)["display_type_rich"] = lambda ctx: None  # of newer versions; the older show no such type
    return parameters


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        return _tidied(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        return _tidied(super().get_params(ctx))


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

_data = typer.Typer(cls=_Group, help="Check a dataset, convert it, look at it.", no_args_is_help=True)
_data.command(cls=_Command)(check)
_data.command(cls=_Command)(show)
_data.command("convert", cls=_Command)(convert_dataset)
app.add_typer(_data, name="data")
