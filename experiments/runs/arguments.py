"""Parse the command line of a verb into its settings."""

import io
import re
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import redirect_stderr
from dataclasses import fields, is_dataclass
from itertools import dropwhile, takewhile
from textwrap import dedent
from typing import Any, TypeVar, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from lifelong.envs.parse import parse_integer
from lifelong.experiments.runs.errors import UserError
from lifelong.experiments.runs.help_page import help_page, takes
from lifelong.registry import closest

__all__ = ["flags", "parse"]

Config = TypeVar("Config")


def parse(
    config: type[Config],
    arguments: list[str],
    verb: str,
    aliases: Mapping[str, str] | None = None,
    examples: str = "",
    defaults: Callable[[Config], tuple[Config, str]] | None = None,
) -> Config:
    """Return a verb's settings, or show its help and exit.

    Integers may be written as `1e6` or `2_000_000`.

    Args:
        config: dataclass of the settings.
        arguments: words from the command line.
        verb: whose they are.
        aliases: old names of fields to their new ones, understood and not shown.
        examples: shown by `--help` below the description.
        defaults: from the settings given beside `--help` to those that it shows as defaults, and a sentence on them.

    Raises:
        UserError: if a word is wrong; one line, where tyro would draw a box.
        SystemExit: if the help was asked for, with code 0.
    """
    words = [_renamed(word, aliases or {}) for word in arguments]
    options = list(takewhile(lambda word: word != "--", words))
    if "-h" in options or "--help" in options:
        shown, sentence = defaults(_beside_help(config, words, verb)) if defaults else (None, "")
        sys.stdout.write(help_page(config, verb, shown=shown, note=sentence, examples=examples))
        sys.stdout.flush()
        raise SystemExit(0)
    known = flags(config)
    for word in options:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in {*known, "--tyro-print-completion"}:
            raise UserError(f"no option {flag!r}{_hint(flag, known, aliases or {})} (see lifelong {verb} --help)")
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                config,
                args=words,
                prog=f"lifelong {verb}",
                registry=_REGISTRY,
                config=(tyro.conf.OmitArgPrefixes,),  # nested settings have flags of their own names
            )
    except SystemExit as end:
        if not end.code:  # completion
            raise
        raise UserError(f"{_reason(said.getvalue(), config, words)} (see lifelong {verb} --help)") from None


def _beside_help(config: type[Config], words: list[str], verb: str) -> Config:
    """Return the settings that stand beside `--help`; the defaults if they cannot be read."""
    try:
        return parse(config, [word for word in words if word not in ("-h", "--help")], verb)
    except UserError:
        return config()


def flags(config: Any) -> dict[str, str]:
    """Return the options of a dataclass of settings, and what each takes; those of nested ones among them."""
    found: dict[str, str] = {}
    hints, annotations = get_type_hints(config), get_type_hints(config, include_extras=True)
    for field in fields(config):
        if is_dataclass(field.default):
            found |= flags(type(field.default))
        if is_dataclass(field.default) or tyro.conf.Positional in getattr(annotations[field.name], "__metadata__", ()):
            continue
        flag = f"--{field.name.replace('_', '-')}"
        found[flag] = takes(hints[field.name], field.name)
        if hints[field.name] is bool:
            found[f"--no-{flag[2:]}"] = ""
    return found


_WANTED = {"INT": "a whole number", "FLOAT": "a number", "INT ...": "whole numbers", "FLOAT ...": "numbers"}


def _reason(box: str, config: type, words: list[str]) -> str:
    """Return in one line what tyro drew a box around."""
    inside = [line.strip("│").rstrip() for line in box.splitlines()[1:]]  # below the title
    below = dropwhile(lambda text: not text.strip("─- "), inside)  # a box without UTF-8 has a rule there
    above = takewhile(lambda text: text.strip("─- "), below)  # down to the rule above what help says
    lines = dedent("\n".join(above)).splitlines()
    if lines and lines[0].startswith("Missing from"):  # its arguments are indented, their help twice
        return f"missing: {', '.join(line.split()[0] for line in lines[1:] if re.match(r' {4}[^ ]', line))}"
    text = " ".join(line.strip() for line in lines)
    flag = next(iter(re.findall(r"(?:^Error parsing|for argument) '?(--[\w-]+)", text)), "")
    given = " ".join(_values(flag, words))
    if text.startswith("Missing value"):
        return f"{flag} needs a value"
    if choices := re.search(r"Expected one of \((.*)\)", text):
        known = sorted(set(re.findall(r"'(.*?)'", choices[1])) - {"None"})
        return f"{flag} must be one of {', '.join(known)}; got {given!r}"
    if wanted := _WANTED.get(flags(config).get(flag, "")):
        return f"{flag} must be {wanted}, got {given!r}"
    return re.sub(rf"^Error parsing ({config.__name__}|ppo): ", "", text)


def _values(flag: str, words: list[str]) -> list[str]:
    """Return the words that follow a flag, up to the next."""
    found: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == flag:
            at = words.index(word)
            found = [value] if equals else list(takewhile(lambda word: not word.startswith("--"), words[at + 1 :]))
    return found


def _hint(flag: str, known: Collection[str], aliases: Mapping[str, str]) -> str:
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
