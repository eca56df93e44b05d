"""Every named bad input is refused with its own code, and the server is as well after it as before."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from serving.bad_inputs import Http, Raw, Stream, http_inputs, raw_inputs, stream_inputs
from serving.running import SOURCE, Running, code_of, read_response

HTTP, RAW, STREAMS = list(http_inputs()), list(raw_inputs()), list(stream_inputs())


def test_there_are_enough_of_them_and_each_has_a_name_and_a_cause():
    names = [case.name for case in (*HTTP, *RAW, *STREAMS)]
    assert len(set(names)) == len(names) >= 300
    bodies = [case.body() if callable(case.body) else case.body for case in HTTP]
    asked = [
        (case.method, case.path, str(case.headers), body) for case, body in zip(HTTP, bodies, strict=True)
    ]
    sent = [*asked, *(case.data for case in RAW), *(case.messages for case in STREAMS)]
    assert len(set(sent)) == len(sent)


@pytest.mark.parametrize("case", HTTP, ids=lambda case: case.name)
def test_http(plain: Running, case: Http):
    body = case.body() if callable(case.body) else case.body
    answer = plain.ask(case.method, case.path, body, case.headers)
    assert answer.code == case.code, answer.body[:300]
    assert set(answer.json()) - {"error"} == {"code", "message", "request_id", "retryable"}
    assert ("retry-after" in answer.headers) == (answer.status in (429, 503))
    assert str(SOURCE.parent) not in answer.json()["message"]
    assert "Traceback" not in answer.json()["message"]


@pytest.mark.parametrize("case", RAW, ids=lambda case: case.name)
def test_raw(plain: Running, case: Raw):
    with plain.connect() as connection:
        connection.sendall(case.data)
        assert code_of(read_response(connection)) == case.code


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_stream(plain: Running, case: Stream):
    code = "closed"
    with connect(f"ws://127.0.0.1:{plain.port}/stream") as socket:
        try:
            for message in case.messages:
                socket.send(message)
            while True:
                said = json.loads(socket.recv(timeout=10))
                code = said.get("code", code)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            assert (code, closed.rcvd.code) == (case.code, case.close)


def test_the_server_is_still_well(plain: Running):
    assert plain.predict(text="happy").json()["emotion"] == "happiness"
    assert plain.process.poll() is None
    assert plain.metric("affetto_worker_restarts_total") == 0
    assert plain.metric("affetto_buffered_bytes") == 0
    assert not [line for line in plain.log if "Traceback" in line or "fault" in line]
