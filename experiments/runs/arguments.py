"""Parse the command line of a verb into its settings."""

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass
from itertools import dropwhile, takewhile
from typing import Any, TypeVar, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from lifelong.envs import parse_integer
from lifelong.experiments.runs.errors import UserError
from lifelong.registry import closest

__all__ = ["flags", "parse"]

Config = TypeVar("Config")


def parse(
    config: type[Config], arguments: list[str], verb: str, aliases: Mapping[str, str] | None = None, epilog: str = ""
) -> Config:
    """Return a verb's settings.

    Integers may be written as `1e6` or `2_000_000`.

    Args:
        config: dataclass of the settings.
        arguments: words from the command line.
        verb: whose they are.
        aliases: old names of fields to their new ones, understood and not shown.
        epilog: examples, shown by `--help` below the description.

    Raises:
        UserError: if a word is wrong; one line, where tyro would draw a box.
    """
    words = [_renamed(word, aliases or {}) for word in arguments]
    known = flags(config)
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if word == "--":
            break
        if flag.startswith("--") and flag not in {*known, "--help", "--help-verbose", "--tyro-print-completion"}:
            raise UserError(f"no option {flag!r}{_hint(flag, known, aliases or {})} (see lifelong {verb} --help)")
    said = io.StringIO()
    description = f"{(config.__doc__ or '').strip()}\n\n{epilog}" if epilog else None
    try:
        with redirect_stderr(said):
            return tyro.cli(
                config,
                args=words,
                prog=f"lifelong {verb}",
                description=description,
                registry=_REGISTRY,
                config=(tyro.conf.OmitArgPrefixes,),  # nested settings are a group of the help, not a prefix
            )
    except SystemExit as end:
        if not end.code:  # --help
            raise
        inside = [text for line in said.getvalue().splitlines()[1:] if (text := line.strip(" │"))]  # below the title
        below = dropwhile(lambda text: not text.strip("─-"), inside)  # a box without UTF-8 has a rule there
        lines = takewhile(lambda text: text.strip("─-"), below)  # down to the rule above what help says
        reason = (
            " ".join(lines)
            .partition(" Got errors:")[0]
            .removeprefix(f"Error parsing {config.__name__}: ")
            .removeprefix("Error parsing ppo: ")
        )
        raise UserError(f"{reason.strip()} (see lifelong {verb} --help)") from None


def flags(config: Any) -> list[str]:
    """Return the options of a dataclass of settings, those of nested ones among them."""
    found = []
    hints = get_type_hints(config, include_extras=False)
    for field in fields(config):
        default = field.default
        if is_dataclass(default):
            found += flags(type(default))
            continue
        flag = f"--{field.name.replace('_', '-')}"
        found.append(flag)
        if hints[field.name] is bool:
            found.append(f"--no-{flag[2:]}")
    return found


def _hint(flag: str, known: list[str], aliases: Mapping[str, str]) -> str:
    """Return "; did you mean '--gamma'?" for a mistyped option, of its old name too; else nothing."""
    new = {name: name for name in known if not name.startswith("--no-")}
    new |= {f"--{old.replace('_', '-')}": f"--{name.replace('_', '-')}" for old, name in aliases.items()}
    near = closest(flag, new)
    return f"; did you mean {new[near]!r}?" if near else ""


def _renamed(word: str, aliases: Mapping[str, str]) -> str:
    """Return a word with an old option's name replaced by its new one."""
    flag, equals, value = word.partition("=")
    new = aliases.get(flag[2:].replace("-", "_")) if flag.startswith("--") else None
    return f"--{new.replace('_', '-')}{equals}{value}" if new else word


_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _integers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: parse_integer(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )
