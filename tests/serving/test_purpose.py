"""A server says what it is for, and some purposes are refused."""

from __future__ import annotations

import pytest

from affetto.cli.app import main
from affetto.errors import ServingError
from affetto.serving import schemas
from affetto.serving.purpose import ALLOWED, PROHIBITED, REFUSED, Purpose, declare

REASON = "Fatigue of drivers is watched for their safety."


def refusal(*arguments, **options) -> str:
    with pytest.raises(ServingError) as caught:
        declare(*arguments, **options)
    return caught.value.code


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name):
    assert declare(name).header() == name
    assert refusal(name, exception="medical") == "purpose_undeclared"


@pytest.mark.parametrize("name", PROHIBITED)
def test_prohibited_but_for_an_exception_with_a_reason(name):
    assert refusal(name) == "purpose_refused"
    assert refusal(name, exception="profit", reason=REASON) == "purpose_refused"
    assert refusal(name, exception="safety") == "purpose_refused"
    assert refusal(name, exception="safety", reason="because") == "purpose_refused"
    purpose = declare(name, exception="safety", reason=REASON)
    assert purpose.header() == f'{name}; exception=safety; reason="{REASON}"'


@pytest.mark.parametrize("name", REFUSED)
def test_refused_whatever_the_reason(name):
    assert refusal(name, exception="safety", reason=REASON) == "purpose_refused"


def test_undeclared():
    assert refusal(None) == refusal("fun") == refusal("") == "purpose_undeclared"


def test_a_header_stays_one_line():
    purpose = declare(
        "workplace", exception="medical", reason='a "reason"\r\nX-Evil: 1 \u00e9\u4e2d' + "." * 20
    )
    assert "\n" not in purpose.header()
    purpose.header().encode("latin-1")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--purpose", "workplace"), 78),
        (("--purpose", "lie-detection", "--exception", "safety", "--reason", REASON), 78),
        ((), 2),
        (("--purpose", "demo", "--host", "0.0.0.0"), 2),
        (("--purpose", "demo", "--api-key-file", "/nowhere"), 2),
        (("--purpose", "demo", "--bundle", "/nowhere"), 2),
    ],
)
def test_the_command_refuses(options, code, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--port", "0", *options])
    said = capsys.readouterr().err
    assert caught.value.code == code, said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_the_notice(client):
    answer = client(purpose=Purpose("demo", operator="ACME", contact="privacy@acme.example")).get("/notice")
    notice = schemas.Notice.model_validate_json(answer.text)
    assert "ACME" in notice.text
    assert "privacy@acme.example" in notice.text
    assert notice.complete
    assert not notice.key_required
    assert {law.article for law in notice.law} >= {"5(1)(f)", "50(3)"}
    assert not Purpose("demo", operator="ACME").complete
