"""Words in files: what each format publishes, what people make of it, and a round trip through every one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affetto.align import words as words_module
from affetto.align.formats import FORMATS
from affetto.align.words import Problem, Words, read_words, write_words
from affetto.errors import ConfigError, DataError
from affetto.records import Word

SUFFIX = {"textgrid": ".TextGrid", "textgrid-short": ".TextGrid", "whisper": ".json"}


def read(text: str, format: str | None = None) -> Words:
    return read_words(text.encode(), format)


def said(found: Words) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in found.words]


def lines_of(found: Words) -> list[int]:
    return [problem.line for problem in found.problems]


# --- round trips ------------------------------------------------------------------------------------------

#: Texts that every format can hold: no spaces, nothing that is silence or a tag in one of them.
TEXTS = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "Po", "Pd", "Sc"], exclude_characters="&\x85"),
    min_size=1,
    max_size=12,
).filter(lambda text: any(letter.isalpha() for letter in text) and text.lower() not in ("sil", "sp", "spn"))


def spoken(texts: st.SearchStrategy[str], *, overlap: bool) -> st.SearchStrategy[list[Word]]:
    """Words in order of their starts, on a grid of 10 ms that every format can hold."""

    def place(parts: list[tuple[str, int, int]]) -> list[Word]:
        at, placed = 0, []
        for text, gap, length in parts:
            at += gap
            placed.append(Word(text, at / 100, (at + length) / 100))
            at += 0 if overlap else length
        return sorted(placed, key=lambda word: (word.start, word.end))

    gaps = st.one_of(st.just(0), st.integers(0, 300), st.integers(350_000, 400_000))
    return st.lists(st.tuples(texts, gaps, st.integers(1, 200)), max_size=25).map(place)


@pytest.mark.parametrize("format", FORMATS)
@given(words=st.one_of(spoken(TEXTS, overlap=False), spoken(TEXTS, overlap=True)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path: Path, format: str, words: list[Word]) -> None:
    path = tmp_path / f"words{SUFFIX.get(format, '.' + format)}"
    write_words(words, path, format)
    found = read_words(path)
    assert found.problems == ()
    assert sorted(said(found)) == sorted(said(Words(tuple(words))))
    assert not any(word.estimated for word in found.words)
    # Content alone tells the format, but for an empty file of one that has no header.
    if words:
        assert read_words(path.read_bytes()) == found


@pytest.mark.parametrize("format", ["json", "whisper", "csv"])
def test_these_keep_which_times_are_estimated_and_every_digit(tmp_path: Path, format: str) -> None:
    words = (Word("né,\"'", 1 / 3, 2 / 3), Word("<b>&", 2 / 3, 0.7, estimated=True))
    path = tmp_path / "words"
    write_words(words, path, format)
    assert read_words(path) == Words(words)


@pytest.mark.parametrize("format", ["vtt", "textgrid", "textgrid-short"])
def test_these_keep_quotes_and_tags(tmp_path: Path, format: str) -> None:
    words = (Word('<i>"a&lt;"', 0.5, 1.0), Word("-->", 1.0, 1.25), Word('""', 2.0, 2.5))
    write_words(words, tmp_path / "words", format)
    assert read_words(tmp_path / "words") == Words(words)


def test_words_of_no_length(tmp_path: Path) -> None:
    words = (Word("a", 1.0, 1.0), Word("b", 1.0, 2.0))
    for format in FORMATS:
        write_words(words, tmp_path / "words", format)
        found = read_words(tmp_path / "words")
        assert [word.text for word in found.words] == ["a", "b"], format
        assert found.words[0].end - found.words[0].start <= 0.0101, format


def test_a_word_with_a_space_is_two(tmp_path: Path) -> None:
    write_words([Word("New York", 1.0, 1.7)], tmp_path / "words.json")
    assert read_words(tmp_path / "words.json").words == (
        Word("New", 1.0, 1.3, estimated=True),
        Word("York", 1.3, 1.7, estimated=True),
    )


# --- SubRip -----------------------------------------------------------------------------------------------

SRT = """1
00:00:01,000 --> 00:00:02,000
Never.

2
01:00:03,500 --> 01:00:04,500 X1:201 X2:516
{\\an8}<i>Well</i> then
"""


def test_srt() -> None:
    assert read(SRT).words == (
        Word("Never.", 1.0, 2.0),
        Word("Well", 3603.5, 3604.0, estimated=True),
        Word("then", 3604.0, 3604.5, estimated=True),
    )


def test_bad_lines_of_srt_are_told_and_the_rest_is_kept() -> None:
    text = """00:00:01 -> 00:00:02
an arrow too short

2
00:00:03,000 --> 00:00:0x,000
a bad time

3
00:00:05,000 --> 00:00:04,000
ends first

a line without a cue

4
00:00:06.000-->00:00:07.000
good
5
7 --> 8
no empty line before, no clock
6
00:00:09,000 --> 00:00:10,000
fine
"""
    found = read(text, "srt")
    assert said(found) == [("good", 6.0, 7.0), ("fine", 9.0, 10.0)]
    assert lines_of(found) == [1, 2, 5, 9, 12, 18]
    assert str(found.problems[3]) == "line 9: the cue ends at 4 s, before it starts at 5 s"


def test_cues_out_of_order_and_overlapping_are_sorted() -> None:
    text = "1\n0:0:5,0 --> 0:0:9,0\nlate\n\n2\n0:0:1,0 --> 0:0:6,0\nearly\n"
    assert said(read(text)) == [("early", 1.0, 6.0), ("late", 5.0, 9.0)]


def test_cues_are_spread_by_characters_and_dialogue_dashes_are_no_words() -> None:
    found = read("1\n00:00:00,000 --> 00:00:01,000\n- Oh, you?\n- Me-e!\n")
    assert [word.text for word in found.words] == ["Oh,", "you?", "Me-e!"]
    assert [word.start for word in found.words] == pytest.approx([0, 0.25, 0.625])
    assert all(word.estimated for word in found.words)


def test_text_that_looks_like_a_tag_stays() -> None:
    found = read("1\n00:00:00,000 --> 00:00:01,000\nI <3 <laughs> <font color=red>you</font>\n")
    assert [word.text for word in found.words] == ["I", "<3", "<laughs>", "you"]


# --- WebVTT -----------------------------------------------------------------------------------------------

VTT = """WEBVTT - a title
Kind: captions

NOTE a comment
that goes on

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Anna>I <00:00:01.200><c>never</c> <00:00:02.000>said &amp; <b>did</b>

00:03.000 --> 00:04.000
R&amp;B
"""


def test_vtt_word_times() -> None:
    assert read(VTT).words == (
        Word("I", 1.0, 1.2),
        Word("never", 1.2, 2.0),
        *(Word(w, a, b, estimated=True) for w, a, b in (("said", 2.0, 2.25), ("&", 2.25, 2.3125))),
        Word("did", 2.3125, 2.5, estimated=True),
        Word("R&B", 3.0, 4.0),
    )
    assert read(VTT).problems == ()


def test_captions_that_roll_up_say_each_line_once() -> None:
    text = """WEBVTT

00:00:00.000 --> 00:00:02.000 align:start
 
no<00:00:00.500><c> no</c>

00:00:02.000 --> 00:00:02.010 align:start
no no
 

00:00:02.010 --> 00:00:04.000 align:start
no no
what<00:00:03.000><c> then</c>

00:00:04.000 --> 00:00:04.010 align:start
what then
 

00:00:09.000 --> 00:00:10.000 align:start
what then
"""
    found = read(text)
    # After a pause the same line is a line of its own.
    assert [word.text for word in found.words] == ["no", "no", "what", "then", "what", "then"]
    assert [word.start for word in found.words[:4]] == [0.0, 0.5, 2.01, 3.0]


def test_repeated_lines_without_word_times_are_said_again() -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\nNo!\n\n00:02.000 --> 00:03.000\nNo!\n"
    assert len(read(text).words) == 2


def test_bad_lines_of_vtt() -> None:
    text = "00:01.000 --> 00:02.000\nhi <00:00:09.000>there\n\n00:aa --> 00:03.000\nlost\n"
    found = read(text, "vtt")
    assert [word.text for word in found.words] == ["hi", "there"]
    assert lines_of(found) == [1, 2, 4]


# --- TextGrid ---------------------------------------------------------------------------------------------

LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 2.3 
tiers? <exists> 
size = 3 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "phones" 
        xmin = 0 
        xmax = 2.3 
        intervals: size = 1 
        intervals [1]:
            xmin = 0 
            xmax = 2.3 
            text = "AH" 
    item [2]:
        class = "IntervalTier" 
        name = "Words" 
        xmin = 0 
        xmax = 2.3 
        intervals: size = 3 
        intervals [1]:
            xmin = 0 
            xmax = 0.7 
            text = "" 
        intervals [2]:
            xmin = 0.7 
            xmax = 1.5 
            text = "say ""no""" 
        intervals [3]:
            xmin = 1.5 
            xmax = 2.3 
            text = "sp" 
    item [3]:
        class = "TextTier" 
        name = "words" 
        xmin = 0 
        xmax = 2.3 
        points: size = 1 
        points [1]:
            number = 1.0 
            mark = "click" 
'''
SHORT = """File type = "ooTextFile short"
"TextGrid"

0
2.3
<exists>
1
"IntervalTier"
"anything"
0
2.3
2
0
1
"one"
1
2.3
"two"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_textgrid_in_every_encoding(encoding: str) -> None:
    assert read_words(LONG.encode(encoding)).words == (
        Word("say", 0.7, pytest.approx(1.18), estimated=True),
        Word('"no"', pytest.approx(1.18), 1.5, estimated=True),
    )
    assert said(read_words(SHORT.encode(encoding))) == [("one", 0.0, 1.0), ("two", 1.0, 2.3)]


def test_tiers_of_speakers_are_read_together() -> None:
    text = SHORT.replace('"anything"', '"Anna - phones"') + SHORT[SHORT.index('"IntervalTier"') :].replace(
        '"anything"', '"Anna - words"'
    )
    text += text[text.rindex('"IntervalTier"') :].replace("Anna", "Ben").replace('"one"', '"eins"')
    assert [word.text for word in read(text).words] == ["one", "eins", "two", "two"]


def test_bad_intervals_are_told_and_the_rest_is_kept() -> None:
    text = SHORT.replace('1\n2.3\n"two"', 'x\n2.3\n"lost"\n3\n2.5\n"backwards"\n3\n4\n"three"\n5\n6\n')
    found = read(text)
    assert said(found) == [("one", 0.0, 1.0), ("three", 3.0, 4.0)]
    assert lines_of(found) == [18, 21, 26]
    assert "cut" in found.problems[-1].message


def test_a_grid_without_intervals() -> None:
    assert read('"ooTextFile"\n"TextGrid"\n0\n1\n<absent>\n').problems[0].line == 1
    with pytest.raises(DataError) as caught:
        read('"ooTextFile"\n"PitchTier"\n0\n1\n')
    assert caught.value.code == "words_invalid"


# --- one word a line --------------------------------------------------------------------------------------


def test_ctm() -> None:
    text = ";; a comment\ncall A 1.0 0.2 never 0.97\ncall B 0.5 0.1 Oh\ncall A x 1 y\nnext 1 0 1 z\ncall A 0.1 0.2\n"
    found = read(text, "ctm")
    assert said(found) == [("Oh", 0.5, 0.6), ("never", 1.0, 1.2)]
    assert lines_of(found) == [4, 5, 6]


def test_grid() -> None:
    text = "0 23750 sil\n23750 29500 bin\n29500 30000 sp\n30000 x now\n53000 74500 sil\n"
    found = read(text)
    assert said(found) == [("bin", 0.95, 1.18)]
    assert lines_of(found) == [4]


def test_grid_is_written_as_it_is_published(tmp_path: Path) -> None:
    write_words([Word("bin", 0.95, 1.18), Word("now", 1.3, 2.0)], tmp_path / "a.align")
    assert (
        tmp_path / "a.align"
    ).read_text() == "0 23750 sil\n23750 29500 bin\n29500 32500 sil\n32500 50000 now\n"


WDSEG = """\t SFrm  EFrm    SegAScr Word
\t    0    17    -133570 <s>
\t   18    39     -50000 EXCUSE(2)
\t   40    40      -1000 <sil>
\t   41    52     -81219 ME
\t   53    60     -81219 ++LAUGHTER++
\t   61    xx     -81219 SIR
\t   62    70     -81219 </s>
 Total score:     -265789
"""


def test_iemocap() -> None:
    found = read(WDSEG)
    assert said(found) == [("EXCUSE", 0.18, 0.4), ("ME", 0.41, 0.53)]
    assert lines_of(found) == [7]


# --- JSON -------------------------------------------------------------------------------------------------

WHISPERX = """{"segments": [
 {"start": 1.0, "end": 3.0, "text": " In 2014, it",
  "words": [{"word": "In", "start": 1.0, "end": 1.5, "score": 0.9}, {"word": "2014,"},
            {"word": " it ", "start": 2.5, "end": 3.0}]},
 {"start": 4.0, "end": 5.0, "text": " And so", "words": []},
 {"start": 6.0, "end": "soon", "text": "lost"},
 {"start": 7.0, "end": 8.0, "text": "",
  "words": [{"word": "a", "start": 7.5, "end": 7.0},
            {"word": "7"}]}
], "word_segments": [{"word": "not read twice", "start": 0, "end": 1}], "language": "en"}"""


def test_whisperx() -> None:
    found = read(WHISPERX)
    assert found.words == (
        Word("In", 1.0, 1.5),
        Word("2014,", 1.5, 2.5, estimated=True),
        Word("it", 2.5, 3.0),
        Word("And", 4.0, 4.6, estimated=True),
        Word("so", 4.6, 5.0, estimated=True),
        Word("7", 7.0, 8.0, estimated=True),
    )
    assert lines_of(found) == [6, 8]


@pytest.mark.parametrize(
    "text",
    [
        '[{"word": " a", "start": 1, "end": 2}, {"text": "b", "start": "2,5", "end": 3}]',
        '{"words": [{"word": "a", "start": 1, "end": 2}, {"word": "b", "start": 2.5, "end": 3}]}',
        '{"text": "a b", "chunks": [{"text": " a", "timestamp": [1, 2]}, {"text": " b", "timestamp": [2.5, 3]}]}',
        '[{"start": 1, "end": 3, "words": [{"word": "a", "start": 1, "end": 2},'
        ' {"word": "b", "start": 2.5, "end": 3}]}]',
    ],
    ids=["plain", "OpenAI", "transformers", "faster-whisper"],
)
def test_shapes_of_json(text: str) -> None:
    assert read(text) == Words((Word("a", 1.0, 2.0), Word("b", 2.5, 3.0)))


def test_bad_entries_of_json_are_told_by_their_line() -> None:
    text = '[\n{"text": "a", "start": 1, "end": 2},\n{"start": 1},\n{"text": "b"},\n7,\n'
    text += '{"text": "c", "start": NaN, "end": 1},\n{"text": "d", "start": true, "end": 9},\n'
    text += '{"text": "e", "start": 5, "end": 1e300}]'
    found = read(text)
    # "b" has no times, which is not wrong: it has the room up to the next word that has.
    assert found.words == (Word("a", 1.0, 2.0), Word("b", 2.0, 5.0, estimated=True))
    assert lines_of(found) == [1, 3, 6, 7, 8]


def test_equal_words_without_times_on_one_line_each_get_their_own_room() -> None:
    five, go = '{"word": "5"}', '{"word": "go", "start": 1, "end": 2}'
    found = read(f'{{"segments": [{{"start": 0, "end": 3, "words": [{five}, {go}, {five}]}}]}}')
    expected = (
        Word("5", 0.0, 1.0, estimated=True),
        Word("go", 1.0, 2.0),
        Word("5", 2.0, 3.0, estimated=True),
    )
    assert found == Words(expected)


@pytest.mark.parametrize(("start", "end"), [(-5, 3), (1, 1e12)])
def test_no_word_is_spread_over_a_room_that_cannot_be(start: float, end: float) -> None:
    found = read(f'[{{"start": {start}, "end": {end}, "words": [{{"word": "a"}}]}}]')
    assert found.words == ()
    assert lines_of(found) == [1]


@pytest.mark.parametrize("text", ["[1", "{}", '"words"', "[" * 100_000, '{"segments": 7}'])
def test_json_that_holds_no_words(text: str) -> None:
    with pytest.raises(DataError) as caught:
        read(text, "json")
    assert caught.value.code == "words_invalid"
    assert "\n" not in str(caught.value)


# --- CSV --------------------------------------------------------------------------------------------------


def test_csv() -> None:
    text = (
        'id,start_s,end_s,word\na,0.0,0.95,sil\na,0.95,1.18,"b,in"\na,2,1,x\na,1\nb,0,1,other\na,one,two,y\n'
    )
    found = read(text)
    assert said(found) == [("b,in", 0.95, 1.18)]
    assert lines_of(found) == [4, 5, 6, 7]


def test_csv_of_a_spreadsheet() -> None:
    text = "\ufeffWord;Start;End\r\nja;0,5;0,75\r\nnein;00:00:01,5;00:00:02\r\n"
    assert said(read_words(text.encode("utf-16"))) == [("ja", 0.5, 0.75), ("nein", 1.5, 2.0)]


def test_the_tsv_of_whisper_is_in_milliseconds() -> None:
    assert said(read("start\tend\ttext\n500\t1250\tYes.\n")) == [("Yes.", 0.5, 1.25)]


def test_csv_without_a_header() -> None:
    with pytest.raises(DataError, match="no column"):
        read("bin,0.95,1.18\n", "csv")


# --- files ------------------------------------------------------------------------------------------------


def test_content_is_believed_before_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "mislabelled.srt"
    path.write_text(VTT)
    assert read_words(path) == read(VTT)


def test_an_empty_file_has_no_words(tmp_path: Path) -> None:
    path = tmp_path / "silent.srt"
    path.write_bytes(b"")
    assert read_words(path) == Words()
    with pytest.raises(DataError, match="no known format"):
        read_words(b"")


def test_what_is_no_utf8_is_read_and_told() -> None:
    found = read_words(SRT.replace("Never", "Niño").encode("latin-1"))
    assert found.words[0].text == "Niño."
    assert found.problems == (Problem(1, "not UTF-8 (line 3): read as Windows-1252; save it as UTF-8"),)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_ends(ending: str) -> None:
    assert read_words(SRT.replace("\n", ending).encode()) == read(SRT)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x89PNG\0\1", "words_invalid"),
        (b"hello there", "words_invalid"),
        (b"\xff\xfe\0\xd8", "words_invalid"),
    ],
)
def test_what_holds_no_words(data: bytes, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_words(data)
    assert caught.value.code == code


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = []
    for path in (tmp_path / "none.srt", tmp_path, "a\0b"):
        with pytest.raises(DataError) as caught:
            read_words(path)
        codes.append(caught.value.code)
    assert codes == ["words_not_found", "words_invalid", "words_not_found"]
    monkeypatch.setattr(words_module, "MAX_BYTES", 3)
    with pytest.raises(DataError, match="MiB"):
        read_words(b"1234")


def test_unknown_formats(tmp_path: Path) -> None:
    for call in (
        lambda: read("", "doc"),
        lambda: write_words([], tmp_path / "a.doc"),
        lambda: write_words([], tmp_path / "a.srt", "doc"),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert caught.value.code == "option_invalid"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "words.srt"
    write_words([Word("old", 0, 1)], path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as caught:
        write_words([Word("new", 0, 1)], path)
    assert caught.value.code == "output_unwritable"
    assert read_words(path).words[0].text == "old"
    assert [*tmp_path.iterdir()] == [path]


@given(st.binary(max_size=300), st.sampled_from([*FORMATS, None]))
@settings(max_examples=300, deadline=None)
def test_no_bytes_break_a_reader(data: bytes, format: str | None) -> None:
    try:
        found = read_words(data, format)
    except DataError as error:
        assert error.code == "words_invalid"  # noqa: PT017 - that it raises is allowed, not asked for
    else:
        assert all(0 <= word.start <= word.end for word in found.words)


MUTATED = [SRT, VTT, LONG, SHORT, WDSEG, WHISPERX, "a 1 0.5 0.5 x\n", "0 25 bin\n", "word,start,end\na,1,2\n"]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_damage_breaks_a_reader(data: st.DataObject) -> None:
    text = list(data.draw(st.sampled_from(MUTATED)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.sampled_from(["", '"', "\n", "-", "{", "9" * 30, "\u2028", ","]))
    try:
        found = read("".join(text))
    except DataError as error:
        assert error.code == "words_invalid"  # noqa: PT017 - that it raises is allowed, not asked for
    else:
        assert all(0 <= word.start <= word.end for word in found.words)
        assert all(problem.line >= 1 and "\n" not in problem.message for problem in found.problems)
