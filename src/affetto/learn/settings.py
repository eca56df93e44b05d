"""Frozen dataclasses from plain values and back: a generic walker over type hints.

It knows numbers with a `Range`, text, literals, optionals, tuples, mappings and sections within sections.
Every fault of a file is told at once, with the path of the value and, for a key that does not exist, the
nearest one that does.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from affetto.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """The values a number may take, ends included; `open_low` excludes the lower end."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies in the range."""
        return (value > self.low if self.open_low else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'more than' if self.open_low else 'at least'} {self.low:g}"
        return f"{'more than ' if self.open_low else ''}{self.low:g} to {self.high:g}"


def read_section(cls: type[T], values: Mapping[str, Any]) -> T:
    """A section of the tree from plain values (as YAML gives them). Fields left out take their defaults.

    Raises ConfigError naming every fault at once: `config_unknown_key` when a key does not exist (with the
    nearest one that does), else `config_invalid` for wrong types and ranges.
    """
    problems = _Problems([], [])
    config = _section(cls, values, "", problems)
    if problems.unknown:
        raise ConfigError("config_unknown_key", "; ".join([*problems.unknown, *problems.invalid]))
    if problems.invalid:
        raise ConfigError("config_invalid", "; ".join(problems.invalid))
    return config


def to_dict(config: Any) -> Any:
    """Plain values for YAML or JSON: the inverse of `read_section`."""
    if is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in fields(config)}
    if isinstance(config, Mapping):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_dict(value) for value in config]
    return config


def put(tree: dict[str, Any], setting: str) -> None:
    """Write a `path=value` setting (the value is YAML) into the plain values of a tree, in place.

    A section that is None begins as {}. Raises ConfigError `config_unknown_key` or `config_invalid`.
    """
    path, separator, value = setting.partition("=")
    path = path.strip()
    if not separator or not path:
        raise ConfigError("config_invalid", f"setting {setting!r}: expected path=value, like seed=1")
    try:
        _put(tree, path.split("."), yaml.safe_load(value), path)
    except yaml.YAMLError as error:
        raise ConfigError("config_invalid", f"{path}: {value!r} is not a value in YAML") from error


def _put(node: Any, steps: list[str], value: Any, path: str) -> None:
    step, rest = steps[0], steps[1:]
    key: Any = step
    if isinstance(node, list):
        if not step.isdecimal() or int(step) >= len(node):
            raise ConfigError(
                "config_invalid", f"{path}: {step!r} is not an item: expected 0 to {len(node) - 1}"
            )
        key = int(step)
    elif not isinstance(node, dict):
        raise ConfigError("config_unknown_key", f"{path}: {step!r} does not exist: {node!r} has no parts")
    if not rest:
        node[key] = value
        return
    if isinstance(node, dict) and node.get(key) is None:
        node[key] = {}
    _put(node[key], rest, value, path)


@dataclass
class _Problems:
    unknown: list[str]
    invalid: list[str]


_FAILED: Any = object()


def _section(cls: type[Any], values: Any, path: str, problems: _Problems) -> Any:
    if not isinstance(values, Mapping):
        problems.invalid.append(f"{path or cls.__name__}: expected a mapping, got {values!r}")
        return _FAILED
    known = {f.name: f for f in fields(cls)}
    hints = get_type_hints(cls, include_extras=True)
    for key in values:
        if key not in known:
            nearest = get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(known)}"
            problems.unknown.append(f"{_join(path, key)}: no such setting; {hint}")
    read = {
        name: _read(hints[name], values[name], _join(path, name), problems)
        for name in known
        if name in values
    }
    missing = [name for name, f in known.items() if _is_required(f) and name not in values]
    problems.invalid.extend(f"{_join(path, name)}: must be given" for name in missing)
    if missing or any(value is _FAILED for value in read.values()):
        return _FAILED
    return cls(**read)


def _is_required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _read(hint: Any, value: Any, path: str, problems: _Problems) -> Any:
    """`value` as the type `hint` says, or _FAILED with the fault noted."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _ranged(hint, value, path, problems)
    if origin in (Union, types.UnionType):
        inner = next(option for option in get_args(hint) if option is not type(None))
        return None if value is None else _read(inner, value, path, problems)
    if origin is Literal:
        if value in get_args(hint):
            return value
        return _wrong(path, f"one of {', '.join(map(str, get_args(hint)))}", value, problems)
    if origin is tuple:
        return _items(get_args(hint), value, path, problems)
    if origin is Mapping:
        return _mapping(get_args(hint)[1], value, path, problems)
    if is_dataclass(hint):
        return _section(hint, value, path, problems)  # type: ignore[arg-type]
    return _scalar(hint, value, path, problems)


def _ranged(hint: Any, value: Any, path: str, problems: _Problems) -> Any:
    base, allowed = get_args(hint)
    read = _read(base, value, path, problems)
    if read is _FAILED or allowed.holds(read):
        return read
    return _wrong(path, str(allowed), value, problems)


def _items(hints: tuple[Any, ...], value: Any, path: str, problems: _Problems) -> Any:
    if not isinstance(value, (list, tuple)):
        return _wrong(path, "a list", value, problems)
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(value)
    elif len(hints) != len(value):
        return _wrong(path, f"{len(hints)} values", value, problems)
    pairs = enumerate(zip(hints, value, strict=True))
    read = tuple(_read(hint, item, _join(path, i), problems) for i, (hint, item) in pairs)
    return _FAILED if any(item is _FAILED for item in read) else read


def _mapping(hint: Any, value: Any, path: str, problems: _Problems) -> Any:
    if not isinstance(value, Mapping):
        return _wrong(path, "a mapping", value, problems)
    read = {str(key): _read(hint, item, _join(path, key), problems) for key, item in value.items()}
    return _FAILED if any(item is _FAILED for item in read.values()) else read


_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text (in quotes)"}


def _scalar(kind: Any, value: Any, path: str, problems: _Problems) -> Any:
    if kind is float:
        number = _number(value)
        return _wrong(path, _SCALARS[float], value, problems) if number is None else number
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    return _wrong(path, _SCALARS[kind], value, problems)


def _number(value: Any) -> float | None:
    """A finite float, or None. YAML 1.1 reads 1e-3 (no point) as text, so such text is taken as a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _wrong(path: str, expected: str, value: Any, problems: _Problems) -> Any:
    problems.invalid.append(f"{path}: expected {expected}, got {value!r}")
    return _FAILED
