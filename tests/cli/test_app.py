"""The command: one line for every error, exit codes that mean something, and a help that costs nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable

import pytest

from affetto import __version__
from affetto.cli import app
from affetto.errors import AffettoError, BundleError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: run("predict", ...) -> exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            app.main(arguments)
        out, err = capsys.readouterr()
        return int(done.value.code or 0), out, err

    return call


def pretend(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Let the verb `predict` do something else."""

    def predict() -> None:
        action()

    monkeypatch.setattr("affetto.cli.predict.predict", predict)


def throw(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_verb(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    for verb in app.VERBS:
        assert f"  {verb} " in out


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"affetto {__version__}\n", "")


@pytest.mark.parametrize("verb", app.VERBS)
def test_every_verb_resolves_and_explains_itself(run: Run, verb: str) -> None:
    assert callable(app.resolve(verb))
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert f"Usage: affetto {verb}" in out
    assert app.VERBS[verb][1].rstrip(".")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("predcit",), "predcit"),
        (("--frob",), "--frob"),
        (("predict", "--frob"), "affetto predict --help"),
        (("predict", "--text"), "--text"),
        (("evaluate",), "MANIFEST"),
    ],
)
def test_a_wrong_command_line_is_one_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.endswith("[option_invalid]\n")
    assert err.count("\n") == 1
    assert said in err


def test_our_errors_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, throw(BundleError("bundle_not_found", "no\nsuch  bundle")))
    assert run("predict") == (2, "", "error: no such bundle [bundle_not_found]\n")
    pretend(monkeypatch, throw(AffettoError("internal", "broken")))
    assert run("predict") == (1, "", "error: broken [internal]\n")


def test_a_fault_of_ours_shows_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AFFETTO_DEBUG", raising=False)
    pretend(monkeypatch, throw(ZeroDivisionError("by\nzero")))
    code, out, err = run("predict")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "ZeroDivisionError: by zero" in err
    assert "[internal]" in err
    monkeypatch.setenv("AFFETTO_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        app.main(["predict"])


def test_interruption(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, throw(KeyboardInterrupt()))
    assert run("predict") == (130, "", "")


def test_a_reader_that_goes_away_is_no_fault() -> None:
    script = (
        "from affetto.cli import app\n"
        "def verb():\n    for _ in range(99999): print('x' * 80)\n"
        "app.resolve = lambda name: verb\n"
        "app.main(['predict'])"
    )
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_help_is_quick_and_loads_nothing() -> None:
    heavy = "{'torch', 'numpy', 'onnxruntime', 'pydantic', 'rich', 'tokenizers', 'PIL'}"
    code = (
        "import sys, time; began = time.process_time(); from affetto.cli import app\n"
        "try: app.main(['--help'])\n"
        f"except SystemExit: print(sorted({heavy} & set(sys.modules)), time.process_time() - began)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, seconds = done.stdout.splitlines()[-1].rsplit(" ", 1)
    assert loaded == "[]"
    assert float(seconds) < 0.4


def test_python_m_affetto_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "affetto", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"affetto {__version__}\n"


def test_the_verbs_have_homes_that_exist() -> None:
    for home, _ in app.VERBS.values():
        module, function = home.split(":")
        assert hasattr(importlib.import_module(module), function)
