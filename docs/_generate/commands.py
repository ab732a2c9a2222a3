"""Every command with its arguments and options, as typer has them."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Literal, get_args, get_origin, get_type_hints

_TOP = """# Commands

`maskwright COMMAND --help` says the same on the terminal. The exit status is 0 where all went well, 2 after wrong use
or bad input, which one line on stderr explains, 1 where the work failed, 130 after Ctrl-C and 143 after SIGTERM.
Results go to stdout; progress, warnings and errors go to stderr. {doc}`errors` lists what may go wrong.
"""


def commands_page() -> str:
    """The page of all commands."""
    from typer.main import get_command

    from maskwright.cli.app import app

    return "\n".join([_TOP, *_command_lines(get_command(app), None, "maskwright")])


def _command_lines(command: Any, parent: Any, name: str) -> Iterator[str]:
    """A command, or the commands of a group."""
    context = command.context_class(command, parent=parent, info_name=name.rpartition(" ")[2])
    if hasattr(command, "commands"):
        if parent is not None:
            yield f"({_anchor(name)})=\n## {name}\n\n{_prose(command.help)}\n"
        for word, inner in command.commands.items():
            yield from _command_lines(inner, context, f"{name} {word}")
        return
    level = "##" if parent.parent is None else "###"
    yield f"({_anchor(name)})=\n{level} {name}\n"
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage.replace('{', '').replace('}', '')}\n```\n"
    yield _prose(command.help) + "\n"
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.get_params(context) if one.param_type_name == "option"]
    choices = _choices(command)
    for parameter in (*arguments, *options):
        values = choices.get(parameter.name, ())
        yield f"{_signature(parameter, values)}\n: {_meaning(parameter, values)}\n"


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


def _prose(help_text: str | None) -> str:
    return cleandoc(help_text or "")


def _signature(parameter: Any, choices: tuple[str, ...]) -> str:
    metavar = parameter.metavar or ("" if choices else parameter.name.upper())
    if parameter.param_type_name == "argument":
        return f"`{metavar}`"
    names = [name for name in (*parameter.opts, *parameter.secondary_opts) if name.strip()]
    value = "" if parameter.is_flag or not metavar else f" {metavar}"
    return ", ".join(f"`{name}{value}`" for name in names)


def _choices(command: Any) -> dict[str, tuple[str, ...]]:
    """The values of each parameter that takes only some; its type says so, whatever typer makes of it."""
    hints = get_type_hints(command.callback)
    return {
        name: values
        for name, hint in hints.items()
        for one in (hint, *get_args(hint))
        if get_origin(one) is Literal and (values := get_args(one))
    }


def _meaning(parameter: Any, choices: tuple[str, ...]) -> str:
    """What it does, which values it takes, and what it is where it is not given."""
    text = (parameter.help or "").strip()
    if choices:
        text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    if parameter.default not in (None, False, True, ()) and not callable(parameter.default):
        text += f" Default: `{parameter.default}`."
    if parameter.required:
        text += " Required."
    return text
