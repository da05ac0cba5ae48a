"""What is wrong with a configuration, in words: one sentence a fault, each with the path of its key."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from ailasd.config.values import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

_WORDS: Final = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a text in quotes",
    "bool_type": "must be true or false",
    "tuple_type": 'must be a list such as ["/media/card"]',
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
}  # by pydantic's stable error types, not by its wording


def _dotted(path: tuple[int | str, ...]) -> str:
    """``("sources", "folders", 0)`` -> ``sources.folders[0]``; keys of other people's making are quoted."""
    parts = [f"[{part}]" if isinstance(part, int) else "." + _key(part) for part in path if part != "[key]"]
    return "".join(parts).removeprefix(".")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else shown(key)


def _known(table: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys and tables."""
    for name, field in table.model_fields.items():
        yield (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _known(field.annotation, (*path, name))


def _unknown(config: type[BaseModel], path: tuple[int | str, ...]) -> str:
    """What to say of a key that does not exist: first its neighbours are searched, then all tables."""
    *parent, key = (str(part) for part in path)
    neighbours = [known[-1] for known in _known(config) if list(known[:-1]) == parent]
    close = difflib.get_close_matches(key, neighbours, 1)
    elsewhere = [_dotted(known) for known in _known(config) if known[-1] == key]
    return f"is not a key that ailasd knows{did_you_mean(elsewhere or close)}"


def in_words(error: ErrorDetails, config: type[BaseModel]) -> str:
    """The sentence of one of pydantic's errors about a ``config``, which begins with the path of its key."""
    kind, path = error["type"], error["loc"]
    if kind == "extra_forbidden":
        text = _unknown(config, path)
    elif kind == "value_error":
        text = str(error["ctx"]["error"])
    elif kind == "literal_error":
        text = f"must be {error['ctx']['expected']}, not {shown(error['input'])}"
    else:
        text = f"{_WORDS.get(kind, error['msg'])}, not {shown(error['input'])}"
    return f"{_dotted(path)}: {text}"


def take_visibility(data: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Remove each key called visibility, wherever it is, and yield its fault."""
    for key, value in list(data.items()):
        if key.lower() == "visibility":
            del data[key]
            yield f"{_dotted((*path, key))}: cannot be set: all that is sent is logged-only, always"
        elif isinstance(value, dict):
            yield from take_visibility(value, (*path, key))
