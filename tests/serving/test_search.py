"""`POST /v1/search`: the clips of a server's index, found as `affetto search` finds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from affetto.bundle import Bundle
from affetto.media import DecodingWorker
from affetto.predictor import Predictor
from affetto.records import Clip
from affetto.search import Finder, Store, index_clips
from affetto.search.find import query_vector
from affetto.search.space import origin_of
from affetto.serving import create_app, schemas
from affetto.serving.answering import Answering, Decoding
from affetto.serving.finding import Finding
from affetto.serving.limits import Limits
from affetto.serving.workers import ThreadWorker
from serving.conftest import wav_bytes
from serving.running import serving, wait_for
from sounds import voice_like

LIMITS = Limits(seconds=20, body_bytes=2**20)
CLIPS = (
    Clip("a", text="furious", labels={"emotion": "anger"}, speaker="7"),
    Clip("b", text="happy", labels={"emotion": "happiness"}, speaker="8"),
    Clip("c", text="gloomy happy", labels={"emotion": "sadness"}, speaker="8"),
)


@pytest.fixture(scope="module")
def index(plain_bundle: Bundle, decoder: DecodingWorker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    (folder / "call.wav").write_bytes(wav_bytes(voice_like(5.0)))
    predictor = Predictor(plain_bundle, decoder=decoder)
    store = Store.create(folder / "my.index", origin_of(predictor, str(plain_bundle.path)))
    clips = [*CLIPS, Clip("call", speech=str(folder / "call.wav"))]
    assert not index_clips(store, clips, predictor, decoder).failed
    return store.folder


@pytest.fixture(scope="module")
def searched(index: Path, plain_bundle: Bundle, decoder: DecodingWorker) -> Iterator[TestClient]:
    decoding = Decoding(decoder, LIMITS)
    predictor = Predictor(plain_bundle, decoder=decoding)

    async def start(expected: str | None) -> ThreadWorker:
        answering = Answering(predictor, LIMITS, Finding(Store(index), predictor, decoding))
        return ThreadWorker(answering.handle, answering.model())

    app = create_app(start, limits=LIMITS)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        wait_for(lambda: client.get("/health/ready").status_code == 200, 5, "a worker")
        yield client


def found(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit.id for hit in schemas.Hits.model_validate_json(answer.text).hits]


def test_words_find_as_the_library_does(
    searched: TestClient, index: Path, plain_bundle: Bundle, decoder: DecodingWorker
) -> None:
    predictor, store = Predictor(plain_bundle, decoder=decoder), Store(index)
    query = query_vector(store.origin, predictor, decoder, text="cheerful happy")
    wanted = Finder(store).find(query, 4)
    for options in (
        {"json": {"text": "cheerful happy", "top": 4}},
        {"data": {"text": "cheerful happy", "top": "4"}},
    ):
        answer = searched.post("/v1/search", **options)
        assert found(answer) == [hit.entry.id for hit in wanted]
        for hit, other in zip(answer.json()["hits"], wanted, strict=True):
            assert hit["score"] == pytest.approx(other.score, abs=1e-6)
    assert found(searched.post("/v1/search", json={"text": "angry", "top": 1})) == ["a"]


def test_a_recording_and_a_picture_find(searched: TestClient, face: bytes) -> None:
    sound = {"audio_file": wav_bytes(voice_like(5.0))}
    answer = searched.post("/v1/search", files=sound, data={"modality": "speech", "top": "1"})
    (hit,) = answer.json()["hits"]
    assert (hit["id"], hit["file"]) == ("call", "call.wav")  # where it lies is not told
    assert hit["score"] == pytest.approx(1.0, abs=0.01)
    assert len(found(searched.post("/v1/search", files={"image_file": face}))) >= 4


def test_filters(searched: TestClient) -> None:
    def ids(**filters: Any) -> set[str]:
        return set(found(searched.post("/v1/search", json={"text": "happy", **filters})))

    assert ids(speaker="8") == {"b", "c"}
    assert ids(label="sad") == {"c"}
    assert ids(modality="text") == {"a", "b", "c"}
    assert ids(after="2999-01-01") == set()


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("value_invalid", {"json": {}}),
    "an empty text": ("value_invalid", {"json": {"text": ""}}),
    "a text of spaces": ("text_empty", {"json": {"text": "  "}}),
    "a text that is too long": ("text_too_long", {"json": {"text": "a" * 20_001}}),
    "a lone surrogate": (
        "value_invalid",
        {"content": rb'{"text": "\ud800"}', "headers": {"content-type": "application/json"}},
    ),
    "a lone surrogate in a filter": (
        "value_invalid",
        {"content": rb'{"text": "a", "speaker": "\ud800"}', "headers": {"content-type": "application/json"}},
    ),
    "an unknown name": ("value_invalid", {"json": {"text": "a", "topp": 1}}),
    "an unknown field": ("field_unknown", {"data": {"text": "a", "tops": "1"}}),
    "a parameter": ("field_unknown", {"json": {"text": "a"}, "params": {"top": 1}}),
    "top of 0": ("value_invalid", {"json": {"text": "a", "top": 0}}),
    "top of 1001": ("value_invalid", {"data": {"text": "a", "top": "1001"}}),
    "top of words": ("value_invalid", {"data": {"text": "a", "top": "ten"}}),
    "a date that is none": ("value_invalid", {"json": {"text": "a", "after": "yesterday"}}),
    "an unknown modality": ("value_invalid", {"json": {"text": "a", "modality": "smell"}}),
    "a label that is too long": ("value_invalid", {"json": {"text": "a", "label": "a" * 201}}),
    "two queries": ("value_invalid", {"data": {"text": "a"}, "files": {"audio_file": b"RIFF"}}),
    "sound that is none": ("audio_unknown_format", {"files": {"audio_file": b"noise"}}),
    "silence": ("audio_silent", {"files": {"audio_file": wav_bytes(voice_like(1.0) * 0)}}),
    "a picture that is none": ("image_unknown_format", {"files": {"image_file": b"noise"}}),
    "a body that is too long": ("body_too_large", {"files": {"audio_file": bytes(2**21)}}),
    "another type": ("media_type_unsupported", {"content": b"a", "headers": {"content-type": "text/plain"}}),
    "no type": ("media_type_unsupported", {"content": b"a"}),
    "JSON that is none": (
        "json_invalid", {"content": b"{", "headers": {"content-type": "application/json"}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_queries(searched: TestClient, name: str) -> None:
    code, options = BAD[name]
    answer = searched.post("/v1/search", **options)
    assert answer.json()["code"] == code, answer.text
    assert found(searched.post("/v1/search", json={"text": "angry", "top": 1})) == ["a"]


def test_labels_tell_of_the_index(searched: TestClient) -> None:
    told = schemas.Labels.model_validate_json(searched.get("/labels").text).index
    assert told is not None
    assert told.kind == "emotions"
    assert told.rows == len(found(searched.post("/v1/search", json={"text": "a", "top": 1000}))) >= 4


def test_a_server_without_an_index_says_so(client: Any) -> None:
    one = client()
    answer = one.post("/v1/search", json={"text": "angry"})
    assert (answer.status_code, answer.json()["code"]) == (404, "route_unknown")
    assert "--index" in answer.json()["message"]
    assert one.get("/labels").json()["index"] is None


def test_the_command_serves_an_index_with_its_bundle(index: Path) -> None:
    with serving("--index", str(index)) as server:
        body = json.dumps({"text": "angry", "top": 1}).encode()
        answer = server.ask("POST", "/v1/search", body, {"Content-Type": "application/json"})
        assert [hit["id"] for hit in answer.json()["hits"]] == ["a"]


def test_an_index_of_another_bundle_is_refused_at_start(index: Path, variant: Any) -> None:
    other = variant(name="other")
    with serving("--index", str(index), "--bundle", str(other.path), ready=False) as server:
        assert server.process.wait(30) == 2
    assert any("[index_of_another_bundle]" in line for line in server.log)
