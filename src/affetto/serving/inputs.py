"""Requests to Items: the fields of a form, the query and JSON, each checked and none believed."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from affetto.bundle import first_problem
from affetto.errors import MediaError, ServingError
from affetto.serving.body import Grow, Part, media_type, read_bytes, read_form, read_json, read_urlencoded
from affetto.serving.calls import Call, Item
from affetto.serving.limits import Limits
from affetto.serving.schemas import Options, PredictBody, Search

_TEXTS = ("text", "timeline", "labels", "language", "timeout_ms")  # also in the query
_FIELDS = ("audio_file", "image_file", "words", *_TEXTS)
_SEARCH_FILES = {"audio_file": "speech", "image_file": "vision"}
_SEARCH_FIELDS = (*_SEARCH_FILES, *Search.model_fields)
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")
_LONGEST_OPTION = 1000  # characters of a field that is not the text
_LONGEST_NAME = 200

M = TypeVar("M", bound=BaseModel)


async def read_item(request: Request, limits: Limits, grow: Grow) -> tuple[Item, float]:
    """The Item of a `POST /predict`, and within how many seconds its answer is wanted.

    Raises ServingError media_type_unsupported, field_unknown, field_twice, value_invalid, MediaError
    text_too_long, and what reading a body raises.
    """
    query = _query(request)
    fields = await _read_fields(request, limits, grow, _FIELDS)
    if fields is not None:
        return _from_fields(fields, query, limits)
    kind = media_type(request)[0]
    if kind in ("application/json", ""):
        data = await read_bytes(request, limits.words_bytes * 2, limits, grow)
        if data and not kind:
            raise _unknown_type(kind)
        body = validated(PredictBody, read_json(data)) if data else PredictBody.model_validate({})
        _refuse_twice(query, body.model_fields_set)
        seconds = _seconds(str(body.timeout_ms) if body.timeout_ms else query.get("timeout_ms"), limits)
        return _with_query(item_of(body, limits), query, limits), seconds
    raise _unknown_type(kind)


async def read_search(request: Request, limits: Limits, grow: Grow) -> tuple[Call, float]:
    """The call that a `POST /v1/search` asks for, and within how many seconds its answer is wanted.

    Raises ServingError and MediaError as `read_item` does, value_invalid also for none or several queries.
    """
    refuse_query(request)
    fields = await _read_fields(request, limits, grow, _SEARCH_FIELDS)
    files: dict[str, bytearray] = {}
    if fields is not None:
        given = {name: part for name, part in fields.items() if part.data or part.file}
        files = {kind: given.pop(name).data for name, kind in _SEARCH_FILES.items() if name in given}
        asked = validated(Search, {name: _string(part) for name, part in given.items()}, strict=False)
    elif media_type(request)[0] == "application/json":
        data = await read_bytes(request, limits.words_bytes * 2, limits, grow)
        asked = validated(Search, read_json(data))
    else:
        raise _unknown_type(media_type(request)[0])
    text = _text(asked.text, limits)
    queries: dict[str, bytes | bytearray] = {**files, **({} if text is None else {"text": text.encode()})}
    if len(queries) != 1:
        raise ServingError("value_invalid", "expected one query: text, audio_file or image_file")
    ((kind, query),) = queries.items()
    filters = asked.model_dump(exclude={"text", "top", "timeout_ms"})
    for name, value in filters.items():
        _well_formed(name, value or "")
    seconds = _seconds(str(asked.timeout_ms) if asked.timeout_ms else None, limits)
    return Call("search", {"kind": kind, "top": asked.top, "filters": filters}, (query,)), seconds


def item_of(options: Options, limits: Limits, **media: Any) -> Item:
    """The Item of a JSON object; `media` are further fields of Item. Raises MediaError text_too_long."""
    words = None
    if options.words:
        words = json.dumps([word.model_dump() for word in options.words]).encode()
    return Item(
        text=_text(options.text, limits),
        words=words,
        timeline=options.timeline,
        labels=None if options.labels is None else tuple(options.labels),
        language=None if options.language is None else _plain("language", options.language),
        **media,
    )


def validated(model: type[M], value: Any, strict: bool = True) -> M:
    """JSON as one of the schemas; not `strict`: where numbers may be text, as a form has them.

    Raises ServingError value_invalid, which names the place.
    """
    try:
        return model.model_validate(value, strict=strict)
    except ValidationError as error:
        raise ServingError("value_invalid", first_problem(error)) from None


def decoded(name: str, value: str | None) -> bytes | None:
    """The bytes of a file in base64. Raises ServingError value_invalid."""
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ServingError("value_invalid", f"{name}: expected the bytes of a file in base64") from None


def refuse_query(request: Request) -> None:
    """For routes without parameters. Raises ServingError field_unknown."""
    for name in request.query_params:
        raise _unknown_field(name, ())


def file_name(name: str | None) -> str | None:
    """The last part of a path that a client calls its file by, on one line; None for none."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1][-_LONGEST_NAME:]
    return "".join(letter if letter.isprintable() else "?" for letter in last).strip() or None


async def _read_fields(
    request: Request, limits: Limits, grow: Grow, known: Sequence[str]
) -> dict[str, Part] | None:
    """The fields of a form by their names; None where the body is no form."""
    kind, options = media_type(request)
    if kind == "multipart/form-data":
        parts = await read_form(request, options.get("boundary"), limits, grow)
    elif kind == "application/x-www-form-urlencoded":
        parts = read_urlencoded(await read_bytes(request, limits.words_bytes * 2, limits, grow))
    else:
        return None
    fields: dict[str, Part] = {}
    for part in parts:
        if part.name not in known:
            raise _unknown_field(part.name, known)
        if part.name in fields:
            raise _twice(part.name)
        fields[part.name] = part
    return fields


def _from_fields(fields: dict[str, Part], query: Mapping[str, str], limits: Limits) -> tuple[Item, float]:
    _refuse_twice(query, fields)
    # A form in a browser sends the fields that were left empty too.
    given = {name: part for name, part in fields.items() if part.data or part.file}
    audio, image, words = (given.get(name) for name in ("audio_file", "image_file", "words"))
    if words is not None and len(words.data) > limits.words_bytes:
        raise ServingError("body_too_large", f"words: more than {limits.words_bytes / 2**20:g} MiB")
    values = {**query, **{name: _string(part) for name, part in given.items() if name in _TEXTS}}
    item = Item(
        audio=None if audio is None else audio.data,
        image=None if image is None else image.data,
        words=None if words is None else bytes(words.data),
        file=file_name(audio.file if audio else image.file if image else None),
    )
    return _with_query(item, values, limits), _seconds(values.get("timeout_ms"), limits)


def _with_query(item: Item, values: Mapping[str, str], limits: Limits) -> Item:
    """The item with what stands in the query, or in the text fields of a form."""
    changes: dict[str, Any] = {}
    if "text" in values:
        changes["text"] = _text(values["text"], limits)
    if "timeline" in values:
        changes["timeline"] = _truth("timeline", values["timeline"])
    if values.get("labels"):
        changes["labels"] = tuple(_plain("labels", values["labels"]).split(","))
    if values.get("language"):
        changes["language"] = _plain("language", values["language"])
    return replace(item, **changes) if changes else item


def _query(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in _TEXTS:
            raise _unknown_field(name, _TEXTS)
        if name in found:
            raise _twice(name)
        found[name] = value
    return found


def _string(part: Part) -> str:
    try:
        return bytes(part.data).decode()
    except UnicodeDecodeError:
        raise ServingError("value_invalid", f"{part.name}: expected UTF-8 text") from None


def _text(text: str | None, limits: Limits) -> str | None:
    """A text as it is; None for an empty one, which is what a form sends for a field left empty."""
    if not text:
        return None
    if len(text) > limits.text_characters:
        raise MediaError(
            "text_too_long",
            f"text: {len(text):,} characters, expected at most {limits.text_characters:,}; send less at a time",
        )
    return _well_formed("text", text)


def _plain(name: str, value: str) -> str:
    if len(value) > _LONGEST_OPTION:
        raise ServingError("value_invalid", f"{name}: more than {_LONGEST_OPTION} characters")
    return _well_formed(name, value)


def _well_formed(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ServingError("value_invalid", f"{name}: holds half a character (a lone surrogate)") from None
    return value


def _truth(name: str, value: str) -> bool:
    if value.lower() not in _TRUE + _FALSE:
        raise ServingError("value_invalid", f"{name}: expected true or false")
    return value.lower() in _TRUE


def _seconds(milliseconds: str | None, limits: Limits) -> float:
    if not milliseconds:
        return limits.answer_seconds
    with suppress(ValueError):
        if len(milliseconds) <= 9 and int(milliseconds) >= 1:
            return min(int(milliseconds) / 1000, limits.answer_seconds)
    raise ServingError("value_invalid", "timeout_ms: expected a whole number of milliseconds, at least 1")


def _refuse_twice(query: Mapping[str, str], fields: Any) -> None:
    for name in query:
        if name in fields:
            raise _twice(name)


def _twice(name: str) -> ServingError:
    return ServingError("field_twice", f"{name} was given twice: give it once")


def _unknown_field(name: str, known: Sequence[str]) -> ServingError:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known) or 'none'}"
    return ServingError("field_unknown", f"an unknown field or parameter: {hint}")


def _unknown_type(kind: str) -> ServingError:
    return ServingError(
        "media_type_unsupported",
        "expected a body of multipart/form-data, application/x-www-form-urlencoded or application/json",
    )
