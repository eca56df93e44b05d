"""The command `affetto`: finds the verb, runs it, and turns every error into one line.

Only the verb that was asked for is imported, so `affetto --help` loads no model and no numpy.
Exit codes: 0 done, 1 a fault of affetto, 2 input that cannot be used, 3 some of several items failed,
130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import typer

from affetto import __version__
from affetto.errors import AffettoError

#: verb -> (home of its function, its line in `affetto --help`)
VERBS: dict[str, tuple[str, str]] = {
    "predict": ("affetto.cli.predict:predict", "Tell the emotion of recordings, sentences and faces."),
    "enrol": ("affetto.cli.enrol:enrol", "Learn how a person sounds, from unlabelled recordings."),
    "features": (
        "affetto.cli.features:features",
        "Write log-mel, MFCC, filter bank or pitch of a recording.",
    ),
    "prepare": ("affetto.cli.prepare:prepare", "Write the manifest of a corpus."),
    "encode": ("affetto.cli.encode:encode", "Encode clips once, to train fusions and heads on."),
    "train": ("affetto.cli.train:train", "Train a model from an experiment or a YAML file."),
    "compare": ("affetto.cli.compare:compare", "Compare models on the same clips: a table and a plot."),
    "evaluate": ("affetto.cli.evaluate:evaluate", "Measure a bundle on a manifest of labelled clips."),
    "audit": ("affetto.cli.audit:audit", "Find leaks, copies and artefacts in labelled clips."),
    "export": ("affetto.cli.export:export", "Make the ONNX parts of a bundle in another precision."),
    "index": ("affetto.cli.index:index", "Make an index of clips, or add to it."),
    "search": ("affetto.cli.search:search", "Find clips by words, by a sound or by a picture."),
    "serve": ("affetto.cli.serve:serve", "Answer over HTTP and WebSocket, with a page."),
}

# typer carries its own copy of click in some versions, so the class is found through a public name.
_UsageError: type[Any] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")


def resolve(verb: str) -> Callable[..., Any]:
    """The function behind a verb."""
    module, function = VERBS[verb][0].split(":")
    return getattr(import_module(module), function)


def build(verb: str | None = None) -> typer.Typer:
    """The command-line application, with the options of `verb` and only the names of the others."""
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Tell how people feel from what they say, how they say it and how they look.",
        epilog="Try: affetto predict recording.wav --text 'what was said'",
    )

    @app.callback(invoke_without_command=True)
    def top(
        context: typer.Context,
        version: bool = typer.Option(False, "--version", help="Show the version and exit."),
    ) -> None:
        if version:
            typer.echo(f"affetto {__version__}")
            raise typer.Exit
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    for name, (_, line) in VERBS.items():
        app.command(name, help=None if name == verb else line, short_help=line)(
            resolve(name) if name == verb else _placeholder
        )
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit. Errors become one line `error: ... [code]` on stderr, never a traceback.

    AFFETTO_DEBUG=1 shows the traceback of a fault of affetto's own.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    verb = next((word for word in arguments if not word.startswith("-")), None)
    try:
        command = typer.main.get_command(build(verb if verb in VERBS else None))
        # Not by calling it: that would answer for errors and broken pipes itself.
        with command.make_context("affetto", arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
        code = 0
    except typer.Exit as end:
        code = end.exit_code
    except AffettoError as error:
        code = _complain(str(error), error.code)
    except _UsageError as error:
        code = _complain(_sentence(error), "option_invalid")
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:
        # The reader went away (`| head`): nothing more can be said, and that is no fault.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if os.environ.get("AFFETTO_DEBUG") == "1":
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        code = _complain(f"affetto failed ({what}); run again with AFFETTO_DEBUG=1 and report it", "internal")
    sys.exit(code)


def _complain(message: str, code: str) -> int:
    print(f"error: {' '.join(message.split())} [{code}]", file=sys.stderr)
    return 1 if code == "internal" else 2


def _sentence(error: Any) -> str:
    """What was wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "affetto"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _placeholder() -> None:
    """Stands in the list of verbs for one that was not asked for."""
