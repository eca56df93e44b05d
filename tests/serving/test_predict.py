"""`POST /predict` and its neighbours: what is answered, and in which shape."""

from __future__ import annotations

import base64
import json
import time

import pytest

from affetto.serving import schemas
from affetto.serving.limits import Limits


def test_the_first_field_is_the_emotion(client, clip, face):
    files = {"audio_file": ("call.wav", clip), "image_file": ("face.png", face)}
    response = client().post("/predict", files=files, data={"text": "happy", "timeline": "true"})
    assert response.status_code == 200
    assert response.text.startswith('{"emotion":')
    answer = schemas.Prediction.model_validate_json(response.text)
    assert answer.file == "call.wav"
    assert answer.missing == []
    assert answer.segments
    assert set(answer.modalities) == {"fused", "speech", "text", "vision"}


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"text": "happy"}},
        {"data": {"text": "happy"}},
        {"params": {"text": "happy"}},
        {"files": {"text": (None, "happy")}},
    ],
    ids=["json", "urlencoded", "query", "multipart"],
)
def test_a_text_comes_in_four_ways(client, options):
    answer = client().post("/predict", **options).json()
    assert answer["emotion"] == "happiness"
    assert answer["missing"] == ["speech", "vision"]


def test_labels_words_and_language(client, clip):
    words = '[{"text": "gloomy", "start": 0.2, "end": 0.8}]'
    data = {"labels": "sad,happy", "words": words, "language": "en", "timeline": "true"}
    answer = client().post("/predict", files={"audio_file": clip}, data=data).json()
    assert set(answer["probabilities"]) == {"sadness", "happiness"}
    assert [word["text"] for word in answer["words"]] == ["gloomy"]
    assert answer["emotion"] == "sadness"


def test_words_as_subtitles(client, clip):
    srt = b"1\n00:00:00,200 --> 00:00:00,800\nfurious\n"
    answer = client().post("/predict", files={"audio_file": clip, "words": ("a.srt", srt)}).json()
    assert answer["words"][0]["text"] == "furious"


def test_fields_left_empty_by_a_browser_are_not_given(client, clip):
    files = {"audio_file": ("a.wav", clip), "image_file": ("", b"")}
    data = {"text": "", "labels": "", "words": "", "timeout_ms": "", "language": ""}
    answer = client().post("/predict", files=files, data=data)
    assert answer.status_code == 200
    assert answer.json()["missing"] == ["text", "vision"]


def test_the_name_of_a_file_is_its_last_part(client, clip):
    answer = client().post("/predict", files={"audio_file": ("..\\secret\\call.wav", clip)}).json()
    assert answer["file"] == "call.wav"


def test_one_bad_item_fails_no_other(client, clip, face):
    items = [
        {"id": "a", "text": "happy"},
        {"id": "b", "audio": "no base64"},
        {"id": "c", "audio": base64.b64encode(clip).decode(), "timeline": True},
        {"id": "d", "audio": base64.b64encode(b"noise").decode()},
        {"image": base64.b64encode(face).decode()},
        {"id": "f", "text": "happy", "unknown": 1},
        17,
    ]
    answer = client().post("/v1/predict", json={"items": items})
    assert answer.status_code == 200
    schemas.BatchAnswer.model_validate_json(answer.text)
    results = answer.json()["results"]
    assert [result["id"] for result in results] == ["a", "b", "c", "d", None, "f", None]
    codes = [result.get("error", {}).get("code") for result in results]
    assert codes == [
        None,
        "value_invalid",
        None,
        "audio_unknown_format",
        None,
        "value_invalid",
        "value_invalid",
    ]
    assert results[2]["prediction"]["segments"]


def test_labels_say_what_is_taken(client):
    answer = client(limits=Limits(seconds=7)).get("/labels")
    labels = schemas.Labels.model_validate_json(answer.text)
    assert labels.labels[0] == "anger"
    assert labels.limits.seconds == 7
    assert labels.modalities == ["speech", "text", "vision"]


def test_every_answer_names_model_purpose_and_notice(client, plain_bundle):
    one = client()
    for path in ("/labels", "/nowhere", "/health/live", "/notice"):
        headers = one.get(path, headers={"X-Request-Id": "mine-1"}).headers
        assert headers["affetto-model"] == plain_bundle.sha256
        assert headers["affetto-notice"].startswith("/notice")
        assert headers["affetto-purpose"] == "personal"
        assert headers["x-request-id"] == "mine-1"
        assert headers["cache-control"] == "no-store"


def test_request_ids_that_are_no_ids_are_not_echoed(client):
    headers = client().get("/health/live", headers={"X-Request-Id": "a b<script>"}).headers
    assert headers["x-request-id"].isalnum()


def test_a_trace_gives_its_id(client):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for given, own in ((f"00-{trace}-00f067aa0ba902b7-01", True), (f"00-{trace}-1", False)):
        said = client().get("/health/live", headers={"traceparent": given}).headers["x-request-id"]
        assert (said == trace) is own


def test_metrics_may_be_read_a_hundred_times_a_second(client):
    one = client()
    before = time.process_time()
    for _ in range(100):
        assert one.get("/metrics").status_code == 200
    assert time.process_time() - before < 1


def test_counts_reconcile(client):
    one = client()
    for body, count in (({"text": "happy"}, 3), ({"text": ""}, 2), ({"txt": "x"}, 1)):
        for _ in range(count):
            one.post("/predict", json=body)
    lines = [
        line for line in one.get("/metrics").text.splitlines() if line.startswith("affetto_requests_total{")
    ]
    found = {line.split("{")[1].split("}")[0]: float(line.split()[-1]) for line in lines}
    assert found['code="ok",route="/predict"'] == 3
    assert found['code="nothing_to_predict",route="/predict"'] == 2
    assert found['code="value_invalid",route="/predict"'] == 1
    assert 'affetto_answers_total{outcome="answered"} 3.0' in one.get("/metrics").text


def test_the_description_is_complete(client):
    described = client().get("/openapi.json").json()
    assert {"/predict", "/v1/predict", "/labels", "/notice", "/metrics", "/v2/models/{name}/infer"} <= set(
        described["paths"]
    )
    names = set(described["components"]["schemas"])
    text = json.dumps(described)
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.split('"')[0] in names


def test_head_like_the_page(client):
    headers = client().get("/health/live").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
