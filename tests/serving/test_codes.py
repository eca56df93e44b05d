"""Every code has a status, every status is documented, and what is promised of them holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from affetto.errors import CODES, AffettoError, ServingError
from affetto.serving.faults import CLOSE, RETRYABLE, STATUS, Fault, fault_of

ROOT = Path(__file__).parents[2]


def raised_in(folder: Path) -> set[str]:
    """The codes that stand as first argument of an error or a Fault in the files of a folder."""
    found = set()
    for path in set(folder.glob("*.py")) - {folder / "client.py"}:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "id", "")
                if name in ("ServingError", "MediaError", "Fault", "DataError") and isinstance(
                    node.args[0].value, str
                ):
                    found.add(node.args[0].value)
    return found


def test_every_code_that_serving_raises_is_known():
    startup = {
        "purpose_undeclared",
        "purpose_refused",
        "bind_refused",
        "bind_failed",
        "keys_invalid",
        "internal",
    }
    raised = raised_in(ROOT / "src" / "affetto" / "serving")
    assert len(raised) >= 35
    assert raised - startup <= set(STATUS)
    assert set(STATUS) <= set(CODES)
    assert set(CLOSE) | RETRYABLE <= {*STATUS, "internal"}


def test_429_and_503_say_when_to_come_back_and_are_retryable():
    for code, status in STATUS.items():
        fault = Fault(code, "x")
        assert ("retry-after" in fault.headers()) == (status in (429, 503))
        if status in (429, 503, 504):
            assert fault.retryable, code


def test_a_fault_of_ours_tells_nothing_of_our_inside():
    for error in (
        AffettoError("internal", "/etc/secret line 3"),
        ServingError("bundle_tampered", "/srv/model"),
    ):
        fault = fault_of(error)
        assert (fault.code, fault.status) == ("internal", 500)
        assert "/" not in fault.message


def test_the_table_of_the_docs_is_that_of_the_code():
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}) \| (.+?) \|", page, re.MULTILINE)
    documented = {code: int(status) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert documented == {**STATUS, "internal": 500}
