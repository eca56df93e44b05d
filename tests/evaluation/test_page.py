"""The page of a report: its numbers are those of the stored answers, and nothing in it reaches out or breaks out."""

import base64
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from affetto.evaluation.answers import Answer, from_lines, to_lines
from affetto.evaluation.page import report_page
from affetto.evaluation.plots import noise_curve, reliability_diagram, risk_coverage_curve
from affetto.evaluation.summary import summarise
from evaluation.test_summary import made

HOSTILE = "</script><img src=x onerror=alert(1)><a href='https://evil.example'>\" ' & {body}"


class Seen(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + " "


@pytest.fixture(scope="module")
def answers():
    return from_lines(to_lines(made()))


@pytest.fixture(scope="module")
def found(answers):
    return summarise(answers)


@pytest.fixture(scope="module")
def page(answers):
    sounds = {a.id: b"fLaC" + a.id.encode() for a in answers}
    return report_page(answers, title="t", facts=[("licence", "CC0-1.0")], config="layers: 2", sounds=sounds)


def test_its_numbers_are_recomputed_from_the_stored_answers(found, page):
    text = Seen(page).text
    low, high = found["intervals"]["uar"]
    wanted = [f"{100 * found[name]:.1f} %" for name in ("uar", "wa", "macro_f1", "weighted_f1", "ece")]
    wanted += [f"{100 * found['selective'][name]:.1f} %" for name in ("aurc", "accuracy")]
    wanted += [f"{100 * low:.1f} to {100 * high:.1f} %", "over 6 speakers", "CC0-1.0", "layers: 2"]
    wanted += [f"{100 * row['uar']:.1f} %" for row in (*found["ablation"], *found["noise"])]
    wanted += [f"{100 * group['uar']:.1f} %" for group in found["groups"]["speaker"].values()]
    assert not [figure for figure in wanted if figure not in text]


def test_the_confusion_matrix_has_counts_and_shares(found, page):
    row = re.search(r'<tr><th scope="row">anger</th>(.*?)</tr>', page)[1]
    counts = found["confusion"][0]
    assert re.findall(r"<small>(\d+)</small>", row) == [str(count) for count in counts]
    assert re.findall(r"<b>(\d+%)</b>", row) == [f"{count / 60:.0%}" for count in counts]


def test_other_answers_give_other_numbers(answers, page):
    others = {"anger": "sadness", "sadness": "anger"}
    flipped = [replace(a, truth=others[a.truth]) for a in answers if a.trial == "all"]
    figure = f'<p class="value">{100 * summarise(flipped)["uar"]:.1f} %</p>'
    assert figure not in page
    assert figure in report_page(flipped, title="t")


def test_mistakes_are_played_from_the_page_itself(found, page):
    players = [about["src"] for tag, about in Seen(page).elements if tag == "audio"]
    ids = found["mistakes"]
    assert len(ids) == len(players) > 5
    for name, source in zip(ids, players, strict=True):
        assert source.startswith("data:audio/flac;base64,")
        assert base64.b64decode(source.split(",")[1]) == b"fLaC" + name.encode()


def test_small_groups_and_gaps_are_marked(page):
    assert page.count(">few clips<") == 6 + 2
    weak = [replace(a, gender="male" if a.said != a.truth else "female") for a in made(240)]
    marked = report_page([a for a in weak if a.trial == "all"], title="t")
    assert re.search(r'<th scope="row">male<span class="tag low">', marked)
    assert not re.search(r'<th scope="row">female<span class="tag low">', marked)


def test_nothing_is_fetched(page):
    seen = Seen(page)
    assert not [
        tag for tag, _ in seen.elements if tag in ("script", "link", "iframe", "img", "object", "base")
    ]
    sources = [about[name] for _, about in seen.elements for name in ("src", "href") if name in about]
    assert all(source.startswith("data:") for source in sources)
    assert "http" not in page.replace("http-equiv", "")
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_hostile_names_stay_text(page):
    named = {"id": HOSTILE, "speaker": HOSTILE, "gender": HOSTILE, "language": HOSTILE, "corpus": HOSTILE}
    shares = {HOSTILE: 0.9, "<b>": 0.1}
    wrong = Answer(**named, truth="<b>", trial="all", inputs=("text",), probabilities=shares, text=HOSTILE)
    hostile = report_page(
        [wrong], title=HOSTILE, facts=[(HOSTILE, HOSTILE)], config=HOSTILE, sounds={HOSTILE: b"x"}
    )
    seen = Seen(hostile)
    assert {tag for tag, _ in seen.elements} <= {tag for tag, _ in Seen(page).elements} | {"title"}
    assert not [name for _, about in seen.elements for name in about if name.startswith("on")]
    assert seen.text.count(HOSTILE) >= 9


def test_little_is_enough():
    one = Answer("a", "anger", "all", ("speech",), probabilities={"anger": 0.6, "sadness": 0.4})
    text = Seen(report_page([one], title="t")).text
    assert "every clip was recognised" in text
    assert "nan" not in text.lower().replace("\n", " ").split()
    assert "Noise" not in text
    assert "Modalities" not in text


def test_another_run_is_told_of(answers):
    better = [a for a in answers if a.trial == "all"]
    worse = [replace(a, probabilities={"anger": 0.9, "sadness": 0.1}) for a in better]
    found = summarise(better, against=worse)["against"]
    text = Seen(report_page(better, title="t", against=worse)).text
    assert f"{100 * found['uar']:+.1f} points from the other run" in text
    assert f"p = {found['p']:.3f}" in text


def dots(svg):
    circles = ET.fromstring(svg).iter("circle")
    return [(float(dot.get("cx")), float(dot.get("cy"))) for dot in circles]


def test_plots_put_points_where_their_numbers_say():
    (x0, y0), (x1, y1), (x2, y2) = dots(reliability_diagram([0.0, 0.5, 1.0], [0.0, 0.25, 1.0]))
    assert (x1 - x0) / (x2 - x0) == pytest.approx(0.5, abs=0.01)
    assert (y1 - y0) / (y2 - y0) == pytest.approx(0.25, abs=0.01)
    assert x2 > x0
    assert y2 < y0
    ((x, y),) = dots(risk_coverage_curve([0.5, 0.8, 1.0], [0.0, 0.1, 0.2], 0.8))
    assert (x - x0) / (x2 - x0) == pytest.approx(0.8, abs=0.01)
    assert (y - y0) / (y2 - y0) == pytest.approx(0.1 / 0.25, abs=0.01)  # the axis ends on 25 %
    levels = dots(noise_curve(["clean", "<0> dB"], [0.75, 0.25], [0.7, 0.2], [0.8, 0.3]))
    assert [(y - y0) / (y2 - y0) for _, y in levels] == pytest.approx([0.75, 0.25], abs=0.01)
