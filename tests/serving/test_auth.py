"""Keys, policies, and who may reach a server without keys."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketDisconnect

from affetto.errors import ServingError
from affetto.serving import auth
from affetto.serving.auth import Keys, anyone, client_of, read_keys, with_key, with_key_later
from affetto.serving.limits import Limits
from affetto.serving.purpose import Purpose
from affetto.serving.run import Settings, Source, bind, is_loopback

KEY = "a-long-and-secret-key"
POLICIES = {anyone, with_key, with_key_later}


def settings(host: str, *keys: str) -> Settings:
    return Settings(Purpose("demo"), Source(), host, 0, 1, Keys(keys), Limits())


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def routes(app):
    """Every route of an application, also those behind included routers."""
    found = []

    def walk(routes):
        for route in routes:
            if isinstance(route, (APIRoute, APIWebSocketRoute)):
                found.append(route)
            else:
                walk(getattr(getattr(route, "original_router", None), "routes", ()))

    walk(app.routes)
    return found


def test_every_route_declares_exactly_one_policy(client):
    found = routes(client().app)
    assert len(found) >= 20
    for route in found:
        policies = POLICIES & {dependency.call for dependency in route.dependant.dependencies}
        assert len(policies) == 1, f"{route.path} declares {policies}"


def test_what_is_open_and_what_is_not(client):
    one = client(keys=Keys((KEY,)))
    open_to_all = {
        "/health/live",
        "/health/ready",
        "/v2/health/live",
        "/v2/health/ready",
        "/notice",
        "/openapi.json",
    }
    for route in routes(one.app):
        if isinstance(route, APIWebSocketRoute):
            continue
        path = route.path.replace("{name}", "plain").replace("{version}", "1")
        method = next(iter(route.methods))
        answer = one.request(method, path)
        if path in open_to_all or path == "/" or path.startswith("/static/"):
            assert answer.status_code in (200, 404), path
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, "key_missing"), path
            assert answer.headers["www-authenticate"] == "Bearer"
            wrong = one.request(method, path, headers={"Authorization": "Bearer wrong"})
            assert (wrong.status_code, wrong.json()["code"]) == (401, "key_wrong"), path


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY} "}, {"X-API-Key": KEY}],
)
def test_keys_that_open(client, headers):
    assert client(keys=Keys(("another-key-of-mine", KEY))).get("/labels", headers=headers).status_code == 200


TRICKS = [
    {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}, {"Authorization": "Bearer"}, {"X-API-Key": ""},
    {"X-API-Key": KEY[:-1]}, {"X-API-Key": KEY + "x"}, {"X-API-Key": KEY.upper()}, {"X-API-Key": "a" * 5000},
    {"Host": "localhost/health/live"}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Original-URL": "/health/live"},
    {"X-Rewrite-URL": "/health/live"}, {"Forwarded": "for=127.0.0.1"}, {"X-HTTP-Method-Override": "HEAD"},
]  # fmt: skip


@pytest.mark.parametrize("headers", TRICKS, ids=lambda headers: str(headers)[:40])
def test_headers_that_do_not_open(client, headers):
    assert client(keys=Keys((KEY,))).get("/labels", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/labels?",
        "/labels#x",
        "/health/live/../../labels",
        "/labels/",
        "/Labels",
        "/%6cabels",
        "/labels;x",
    ],
)
def test_paths_that_do_not_open(client, path):
    assert client(keys=Keys((KEY,))).get(path).status_code in (401, 404)


def test_a_doubled_slash_leads_to_no_labels(client):
    answer = client(keys=Keys((KEY,))).get("http://testserver//labels")
    assert answer.status_code in (401, 404)


def test_the_stream_wants_the_key_in_its_headers_or_its_first_message(client):
    one = client(keys=Keys((KEY,)))
    for headers, start, code in (
        ({"Authorization": f"Bearer {KEY}"}, {}, None),
        ({}, {"key": KEY}, None),
        ({}, {}, "key_missing"),
        ({}, {"key": "wrong"}, "key_wrong"),
    ):
        with one.websocket_connect("/stream", headers=headers) as socket:
            socket.send_json({"type": "start", **start})
            said = socket.receive_json()
            assert said.get("code") == code
            if code:
                with pytest.raises(WebSocketDisconnect) as closed:
                    socket.receive_json()
                assert closed.value.code == 1008


def test_a_client_is_a_key_or_an_address(client):
    """What it names itself counts for nothing where there are no keys."""
    for keys, one in ((Keys((KEY, "another-long-key")), False), (Keys(), True)):
        app = client(keys=keys).app
        offered = [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}, {"x-api-key": "another-long-key"}]
        found = [
            client_of(
                HTTPConnection(
                    {"type": "http", "app": app, "client": ("127.0.0.1", port), "headers": _raw(given)}
                )
            )
            for port, given in enumerate(offered)
        ]
        assert found[0] == found[1]
        assert (found[0] == found[2]) is one
        assert KEY not in "".join(found)


def test_keys_are_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(
        auth.hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or real(a, b)
    )
    keys = Keys(("first-key-of-this", "second-key-of-this"))
    keys.check("first-key-of-this")
    with pytest.raises(ServingError):
        keys.check("x")
    assert compared == [(32, 32)] * 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no key"),
        ("# only a comment\n", "no key"),
        ("short\n", "shorter"),
        ("with a space in it 123\n", "spaces"),
    ],
)
def test_files_of_keys_that_cannot_be_used(tmp_path: Path, content, says):
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(ServingError, match=says) as caught:
        read_keys(path)
    assert caught.value.code == "keys_invalid"
    with pytest.raises(ServingError):
        read_keys(tmp_path / "nowhere")


def test_a_file_of_keys(tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text(f"# clients\n\n{KEY}\n  another-key-of-mine  \n")
    keys = read_keys(path)
    keys.check(KEY)
    keys.check("another-key-of-mine")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "10.0.0.1"])
def test_a_public_bind_without_a_key_is_refused(host):
    with pytest.raises(ServingError) as caught:
        bind(settings(host))
    assert caught.value.code == "bind_refused"


def test_loopback():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "127.0.0.1.evil.example", "::ffff:1.2.3.4")))


def test_a_public_bind_with_a_key_listens():
    with bind(settings("0.0.0.0", KEY)) as listener:
        assert listener.getsockname()[1] > 0


def test_only_this_machine_where_there_are_no_keys(client):
    one = client(local=True)
    assert one.get("/labels", headers={"Host": "localhost:8000"}).status_code == 200
    assert one.get("/labels", headers={"Host": "[::1]:8000"}).status_code == 200
    same = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}
    assert one.get("/labels", headers=same).status_code == 200
    other = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:9000"}
    assert one.get("/labels", headers=other).json()["code"] == "host_refused"
    assert one.get("/labels", headers={"Host": "evil.example"}).json()["code"] == "host_refused"
