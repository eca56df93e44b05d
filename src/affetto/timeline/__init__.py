"""What becomes of a timeline: a page to send to somebody, a table, subtitles, JSON.

All are made of a `Prediction`; none runs a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from affetto.errors import ConfigError
from affetto.files import write_whole
from affetto.records import Prediction

if TYPE_CHECKING:  # not loaded to write a table
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FORMATS", "format_of", "to_json", "write_timeline"]

#: Suffix to what makes the text of the file.
FORMATS: Mapping[str, str] = {
    ".html": "affetto.timeline.page:to_html",
    ".csv": "affetto.timeline.table:to_csv",
    ".srt": "affetto.timeline.subtitles:to_srt",
    ".vtt": "affetto.timeline.subtitles:to_vtt",
    ".json": "affetto.timeline:to_json",
}


def write_timeline(
    prediction: Prediction,
    path: str | Path,
    *,
    audio: Iterable[NDArray[np.float32]] | None = None,
    link: str | None = None,
) -> None:
    """Write the timeline as what the suffix of `path` says, one of `FORMATS`.

    `audio` are blocks of float32 [n], 16 kHz mono, as `affetto.media.audio.iter_audio` yields them; `link` is
    where the recording lies, relative to the page. Only a page uses them, see `affetto.timeline.page.to_html`:
    for other formats no block is asked for.

    The file appears whole or not at all. Raises ConfigError `option_invalid` for another suffix and for a
    link that is not relative, DataError `output_unwritable`.
    """
    path = Path(path)
    make = format_of(path)
    text = make(prediction, audio=audio, link=link) if path.suffix.lower() == ".html" else make(prediction)
    write_whole(path, text.encode("utf-8", errors="replace"))


def to_json(prediction: Prediction) -> str:
    """The answer as `affetto predict --json` prints it."""
    return json.dumps(prediction.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def format_of(path: Path) -> Callable[..., str]:
    """What makes the text of a file of this name. Raises ConfigError `option_invalid` for another suffix."""
    target = FORMATS.get(path.suffix.lower())
    if target is None:
        known = ", ".join(FORMATS)
        raise ConfigError("option_invalid", f"{path.name} is no name for a timeline: expected one of {known}")
    module, _, attribute = target.partition(":")
    make: Callable[..., str] = getattr(import_module(module), attribute)
    return make
