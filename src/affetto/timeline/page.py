"""The timeline as one HTML page that needs no network: to open, to listen to, to send to somebody.

Everything is in the file: the style (`page.css`), the script (`page.js`), the numbers as JSON and, where it is
not too large, the recording. A content security policy allows this script and nothing else, so that not even
a transcript made for the purpose can load or run something.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from affetto.errors import ConfigError
from affetto.html import style
from affetto.records import Prediction, Segment, Span, Verdict, Word
from affetto.timeline.phrases import Phrase, phrases
from affetto.timeline.sound import EMBEDDED_BYTES, Peaks, listen
from affetto.timeline.wording import (
    NOBODY,
    REASONS,
    UNSURE,
    VIEWS,
    WARNINGS,
    called,
    clock,
    heard,
    labels,
    length,
    views,
)

#: Light and dark theme. Told apart also without red, green or blue, and 3:1 against the page; the name always
#: stands beside the colour.
COLOURS: Mapping[str, tuple[str, str]] = {
    "anger": ("#b8301c", "#e5412d"),
    "disgust": ("#3f8f5f", "#7ee0a0"),
    "fear": ("#b13a9b", "#9a5fb8"),
    "happiness": ("#c98500", "#ffd24a"),
    "neutral": ("#555b63", "#8b919c"),
    "sadness": ("#2d3a94", "#5a7cf0"),
    "surprise": ("#1492d6", "#1fb0df"),
}
OTHERS = (("#7a5230", "#c9a27e"), ("#5c7a00", "#b5d334"), ("#a0466b", "#f29bbd"), ("#3f6c73", "#8fc1c9"))
Colours = Mapping[str, str]  # emotion to a CSS colour
_ESTIMATED = "<p class=note><em>Words in italics</em>: when they were said is estimated, not measured.</p>"
_SILENT, _UNSURE = -1, -2  # where the page's numbers name no emotion


def to_html(
    prediction: Prediction,
    *,
    audio: Iterable[NDArray[np.float32]] | None = None,
    link: str | None = None,
) -> str:
    """The page of an answer, with or without a timeline.

    `audio` are blocks of float32 [n], 16 kHz mono, from which the waveform is drawn. The page plays a FLAC copy
    of them that stands in it, up to 16 MiB (about 14 minutes of speech); for a longer recording it plays the file
    at `link`, relative to the page, or says why there is no sound. Raises ConfigError `option_invalid` for a
    link that is not relative.
    """
    source = _source(link)
    peaks, copy = listen(audio) if audio is not None else (None, None)
    if copy is not None:
        source = f"data:audio/flac;base64,{base64.b64encode(copy).decode()}"
    script = _read("picture.js") + _read("page.js") if prediction.segments or prediction.spans else ""
    names = _named(prediction)
    colours = {name: f"var(--e{i})" for i, name in enumerate(names)}
    spoken = list(phrases(prediction.words, prediction.spans))
    # The folders of whoever made the page are no concern of those whom it is sent to.
    name = PurePosixPath((prediction.file or "").replace("\\", "/")).name or "Answer"
    parts = {
        "title": escape(name),
        "policy": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": style() + _read("page.css") + _palette(names),
        "facts": escape(_facts(prediction)),
        "answer": _answer(prediction, colours),
        "shares": _shares(prediction, colours),
        "bars": _bars(prediction, colours),
        "views": _views(prediction, colours),
        "warnings": "".join(
            f"<p class=warning>{escape(WARNINGS.get(c, c))}</p>" for c in prediction.warnings
        ),
        "timeline": _read("timeline.html") if script else "",
        "spans": _spans(prediction, spoken, colours),
        "note": _ESTIMATED if any(word.estimated for word in prediction.words) else "",
        "audio": _audio(source, audio is not None),
        "model": escape(_model(prediction)),
        "data": _json(_data(prediction, names, spoken, peaks)),
        "script": script,
    }
    # In one pass: what is put in is not looked at again, whatever a transcript says.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def _read(name: str) -> str:
    return (files("affetto.timeline") / name).read_text(encoding="utf-8")


def _source(link: str | None) -> str | None:
    """A relative link as a URL."""
    if link is None:
        return None
    place = link.replace("\\", "/")
    if place.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", place):
        raise ConfigError(
            "option_invalid",
            f"link {link!r}: expected where the recording lies as seen from the page, relative",
        )
    return f"./{quote(place)}"


def _json(value: Any) -> str:
    """JSON that may stand in a <script>: no `<`, so that no text in it ends the element."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )


# --- the numbers --------------------------------------------------------------------------------------------


def _named(prediction: Prediction) -> list[str]:
    """Every emotion that occurs, also where only a span or a verdict names it; the page knows them by number."""
    names = dict.fromkeys(labels(prediction))
    said = [prediction.emotion, *(span.emotion for span in prediction.spans)]
    said += [verdict.emotion for verdict in prediction.modalities.values()]
    for step in prediction.segments:
        said += [step.emotion, *(verdict.emotion for verdict in step.modalities.values())]
    return list(names | dict.fromkeys(name for name in said if name))


def _data(
    prediction: Prediction, names: Sequence[str], spoken: Sequence[Phrase], peaks: Peaks | None
) -> dict[str, Any]:
    """What `page.js` draws: emotions as places in `labels`, shares in thousandths."""
    place = {name: i for i, name in enumerate(names)}
    seen = views(prediction)
    words = [word for phrase in spoken for word in phrase.words]
    return {
        "length": round(length(prediction), 3),
        "labels": names,
        "views": [VIEWS.get(view, view) for view in seen],
        "steps": [_step(step, place, seen) for step in prediction.segments],
        "spans": [
            [_ms(s.start), _ms(s.end), _place(s, place), round(s.confidence, 3)] for s in prediction.spans
        ],
        "words": [[w.text, _ms(w.start), _ms(w.end), int(w.estimated)] for w in words],
        "phrases": [len(phrase.words) for phrase in spoken],
        "peaks": _peaks(peaks),
    }


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _step(step: Segment, place: Mapping[str, int], seen: Sequence[str]) -> list[Any]:
    """[start, end, label, speech, shares or 0, verdict or 0 of each view]; 0 is short for nothing at all."""
    shares = [round(1000 * step.probabilities.get(name, 0.0)) for name in place] if step.probabilities else 0
    speech = None if step.speech is None else round(step.speech, 2)
    verdicts = [_verdict(step, view, place) for view in seen]
    return [_ms(step.start), _ms(step.end), _place(step, place), speech, shares, verdicts]


def _place(step: Segment | Span, place: Mapping[str, int]) -> int:
    name = called(step)
    return _SILENT if name is None else place.get(step.emotion or "", _UNSURE)


def _verdict(step: Segment, view: str, place: Mapping[str, int]) -> list[Any] | int:
    said = step.modalities.get(view)
    if said is None or _unheard(view, said):
        return 0
    weight = None if said.weight is None else round(said.weight, 3)
    return [place[said.emotion], round(1000 * said.probabilities.get(said.emotion, 0.0)), weight]


def _peaks(peaks: Peaks | None) -> dict[str, Any] | None:
    """A byte for each stretch, 255 for the loudest of the recording."""
    if peaks is None:
        return None
    values = peaks.values()
    loudest = float(values.max(initial=0.0)) or 1.0
    scaled = np.round(255 * values / loudest).astype(np.uint8)
    return {"seconds": peaks.seconds, "bytes": base64.b64encode(scaled.tobytes()).decode()}


def _palette(names: Sequence[str]) -> str:
    """The colours as CSS variables `--e0`, `--e1` and so on, in the order of the labels."""
    others = [name for name in names if name not in COLOURS]
    spare = {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}
    pairs = [COLOURS.get(name) or spare[name] for name in names]
    light, dark = ("".join(f"--e{i}:{pair[theme]};" for i, pair in enumerate(pairs)) for theme in (0, 1))
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


# --- the text -----------------------------------------------------------------------------------------------


def _facts(prediction: Prediction) -> str:
    facts = [clock(length(prediction))] if length(prediction) else []
    facts += [f"without {VIEWS.get(m, m)}" for m in prediction.missing]
    return " · ".join(facts)


def _model(prediction: Prediction) -> str:
    model = prediction.model
    return " · ".join(
        fact for fact in (model.get("name"), model.get("licence"), model.get("sha256", "")[:12]) if fact
    )


def _tint(colours: Colours, emotion: str | None) -> str:
    """The style that gives an element its colour; stripes for "unsure"."""
    return f"--c:{colours.get(emotion or '', 'var(--unsure)')}"


def _answer(prediction: Prediction, colours: Colours) -> str:
    if prediction.emotion is None:
        reason = escape(REASONS.get(prediction.reason or "", prediction.reason or ""))
        name = NOBODY if prediction.reason == "no_speech" else UNSURE
        because = "" if reason == name else f"<p class=because>{reason}</p>"
        return f'<p class=emotion style="--c:var(--unsure)">{_capital(name)}</p>{because}'
    return (
        f'<p class=emotion style="{_tint(colours, prediction.emotion)}">{escape(_capital(prediction.emotion))}</p>'
        f"<p class=because><b>{prediction.confidence:.0%}</b> confident</p>"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _bars(prediction: Prediction, colours: Colours) -> str:
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    return "".join(
        f'<tr style="{_tint(colours, name)}"><th scope=row>{escape(name)}</th>'
        f'<td class=bar><i style="width:{100 * share:.1f}%"></i></td><td>{share:.0%}</td></tr>'
        for name, share in ranked
    )


def _views(prediction: Prediction, colours: Colours) -> str:
    rows = []
    for view in views(prediction):
        said = prediction.modalities.get(view)
        if said is None or _unheard(view, said):
            continue
        weight = "" if said.weight is None else f"counts {said.weight:.0%}"
        rows.append(
            f"<tr><th scope=row>{escape(VIEWS.get(view, view))}</th>"
            f'<td><span class=chip style="{_tint(colours, said.emotion)}">{escape(said.emotion)}</span></td>'
            f"<td>{said.probabilities.get(said.emotion, 0.0):.0%}</td><td class=quiet>{weight}</td></tr>"
        )
    return "".join(rows)


def _unheard(view: str, said: Verdict) -> bool:
    """A mixture that the vote did not listen to would only contradict it."""
    return view == "fused" and said.weight == 0


def _shares(prediction: Prediction, colours: Colours) -> str:
    """How the time that somebody speaks is divided: a bar, and a legend that says the same in words."""
    seconds = heard(prediction.spans)
    total = sum(seconds.values())
    if not total:
        return ""
    bar, legend = [], []
    for name, part in seconds.items():
        style = f'style="{_tint(colours, name)};flex-grow:{part / total:.4f}"'
        bar.append(f"<i {style}></i>")
        legend.append(
            f"<li><span class=chip {style}>{escape(name)}</span> <b>{part / total:.0%}</b> "
            f"<span class=quiet>{clock(part)}</span></li>"
        )
    silent = length(prediction) - total
    if silent >= 0.05:
        legend.append(f"<li class=quiet>{NOBODY} {clock(silent)}</li>")
    return (
        f"<h2>Time spoken with each emotion</h2><div class=shares aria-hidden=true>{''.join(bar)}</div>"
        f"<ul class=legend>{''.join(legend)}</ul>"
    )


def _spans(prediction: Prediction, spoken: Sequence[Phrase], colours: Colours) -> str:
    """The spans as a list: it says all that the picture says, to those who read it with other means too."""
    said: dict[int, list[Word]] = {}
    for phrase in spoken:
        said.setdefault(id(phrase.span), []).extend(phrase.words)
    return "".join(_span(colours, span, said.get(id(span), ())) for span in prediction.spans)


def _span(colours: Colours, span: Span, words: Sequence[Word]) -> str:
    name = called(span)
    text = " ".join(_word(word) for word in words) or escape(" ".join(span.words))
    quoted = f"<q>{text}</q>" if text else ""
    times = f"{clock(span.start)}–{clock(span.end)}"
    if name is None:
        label = f"<span class=quiet>{NOBODY}</span>"
    else:
        sure = "" if span.emotion is None else f" <b>{span.confidence:.0%}</b>"
        label = f'<span class=chip style="{_tint(colours, span.emotion)}">{escape(name)}</span>{sure}'
    silent = " class=silent" if name is None else ""
    return f"<li{silent}><button type=button>{times}</button><span class=label>{label}</span>{quoted}</li>"


def _word(word: Word) -> str:
    return f"<em>{escape(word.text)}</em>" if word.estimated else escape(word.text)


def _audio(source: str | None, given: bool) -> str:
    if source is not None:
        return f'<audio id=audio controls preload=metadata src="{escape(source)}"></audio>'
    if not given:
        return ""
    megabytes = EMBEDDED_BYTES // 2**20
    return (
        f"<p class=quiet>The recording is not in this page: it would have taken more than {megabytes} MB.</p>"
    )
