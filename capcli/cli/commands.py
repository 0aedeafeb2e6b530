"""Typer's command and group, but for what makes every start slower: a command is loaded when it is asked for, and what
is a text or a plain number is not sent through pydantic, which newer Typers load for each option, given or not (0.15 s
of a start). Knows nothing of what the commands do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import NoneType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from capcli.cli.terminal import Interrupted

_PLAIN = (str, int, float)
# What Typer checks or converts beyond the type.
_RULES = ("min", "max", "parser", "click_type")


class Command(TyperCommand):
    """A command whose texts and numbers are read here; what they cannot be is refused by Typer, in its words."""

    def get_params(self, ctx: Any) -> Any:
        plain = _plain_types(self.callback)
        return [_read_plainly(each, plain.get(str(each.name))) for each in super().get_params(ctx)]


@dataclass(frozen=True)
class Place:
    """Where a command is: in `module`, as a function or a Typer of its name. `does` is the first part of its help."""

    module: str
    does: str


class Commands(TyperGroup):
    """Commands, each loaded when it is asked for. Ctrl-C ends all alike, whatever the installed Typer makes of it.

    `places` has them by name, in the order of the help, which loads none of them.
    """

    places: ClassVar[Mapping[str, Place]] = {}
    _lists = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self._lists:
            return TyperCommand(cmd_name, help=self.places[cmd_name].does)
        # Typer suggests what is like an unknown name among those that it has.
        for name in [cmd_name] if cmd_name in self.places else self.places:
            if name not in self.commands:
                self.commands[name] = _loaded(name, self.places[name].module)
        return self.commands.get(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._lists = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._lists = False

    def get_params(self, ctx: Any) -> Any:
        return [_read_plainly(each, None) for each in super().get_params(ctx)]

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


def _loaded(name: str, module: str) -> Any:
    found = getattr(import_module(module), name)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name, cls=Command)(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command


@functools.cache
def _plain_types(function: Callable[..., Any] | None) -> dict[str, type]:
    """Parameters that take a text or a number, one or several, and any."""
    plain = {}
    for name, hint in get_type_hints(function, include_extras=True).items() if function is not None else ():
        kind, *about = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
        if any(getattr(rule, each, None) is not None for rule in about for each in _RULES):
            continue
        if NoneType in get_args(kind):
            kind = next(each for each in get_args(kind) if each is not NoneType)
        if get_origin(kind) is list:
            (kind,) = get_args(kind)
        if kind in _PLAIN:
            plain[name] = kind
    return plain


def _read_plainly(parameter: Any, plain: type | None) -> Any:
    """Has a parameter take what needs no conversion, or a plain one, as it is; anything else goes Typer's way."""
    typers_way = parameter.process_value
    if not isinstance(typers_way, functools.partial):  # or it has been here before
        parameter.process_value = functools.partial(_process, parameter, plain, typers_way)
    return parameter


def _process(parameter: Any, plain: type | None, typers_way: Callable[..., Any], ctx: Any, value: Any) -> Any:
    several = parameter.multiple or parameter.nargs == -1
    given: Any = value
    try:
        if value is None:
            given = () if several else None
        elif plain is not None and several and isinstance(value, list | tuple):
            given = tuple(map(functools.partial(_read, plain), value))
        elif plain is not None and not several:
            given = _read(plain, value)
        elif not (isinstance(value, bool) and parameter.is_flag):
            return typers_way(ctx, value)
    except ValueError:
        return typers_way(ctx, value)
    if parameter.required and given in (None, ()):
        return typers_way(ctx, value)
    return given if parameter.callback is None else parameter.callback(ctx, parameter, given)


def _read(plain: type, value: Any) -> Any:
    if type(value) is plain:
        return value
    if not isinstance(value, str):
        raise ValueError
    return plain(value)
