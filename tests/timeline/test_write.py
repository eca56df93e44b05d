"""One door for every format: by the suffix, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from affetto.errors import ConfigError, DataError
from affetto.records import Prediction
from affetto.timeline import FORMATS, write_timeline
from affetto.timeline.page import to_html
from affetto.timeline.subtitles import to_srt, to_vtt
from affetto.timeline.table import to_csv


@pytest.mark.parametrize(
    ("name", "make"), [("a.csv", to_csv), ("a.srt", to_srt), ("a.VTT", to_vtt), ("a.html", to_html)]
)
def test_the_suffix_decides(
    call: Callable[..., Prediction], tmp_path: Path, name: str, make: Callable[[Prediction], str]
) -> None:
    write_timeline(call(), tmp_path / name)
    assert (tmp_path / name).read_bytes().decode() == make(call())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_json_is_the_answer(call: Callable[..., Prediction], tmp_path: Path) -> None:
    write_timeline(call(), str(tmp_path / "a.json"))
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == json.loads(json.dumps(call().to_dict()))


def test_every_format_can_be_written(call: Callable[..., Prediction], tmp_path: Path) -> None:
    for suffix in FORMATS:
        write_timeline(call(), tmp_path / f"a{suffix}")
        write_timeline(call(segments=(), spans=(), words=()), tmp_path / f"a{suffix}")


def test_only_a_page_listens(call: Callable[..., Prediction], tmp_path: Path) -> None:
    def blocks() -> Iterator[np.ndarray]:
        heard.append(True)
        yield np.zeros(1600, np.float32)

    heard: list[bool] = []
    write_timeline(call(), tmp_path / "a.csv", audio=blocks(), link="call.wav")
    assert heard == []
    write_timeline(call(), tmp_path / "a.html", audio=blocks())
    assert heard == [True]


def test_refusals(call: Callable[..., Prediction], tmp_path: Path) -> None:
    for name in ("a.txt", "a"):
        with pytest.raises(ConfigError, match=r"\.html, \.csv") as caught:
            write_timeline(call(), tmp_path / name)
        assert caught.value.code == "option_invalid"
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere" / "a.csv", tmp_path / "file" / "a.csv"):
        with pytest.raises(DataError) as unwritable:
            write_timeline(call(), path)
        assert unwritable.value.code == "output_unwritable"


def test_a_file_is_replaced_whole_or_not_at_all(call: Callable[..., Prediction], tmp_path: Path) -> None:
    def breaks() -> Iterator[np.ndarray]:
        yield np.zeros(1600, np.float32)
        raise OSError("the recording is gone")

    page = tmp_path / "a.html"
    page.write_text("old")
    with pytest.raises(OSError, match="gone"):
        write_timeline(call(), page, audio=breaks())
    assert page.read_text() == "old"
    write_timeline(call(), page)
    assert page.read_text("utf-8").startswith("<!doctype html>")
