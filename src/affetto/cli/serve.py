"""`affetto serve`: the API and the page."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from affetto.errors import ConfigError, ServingError

#: EX_CONFIG of sysexits.h: what was asked for is not to be run at all.
REFUSED = 78


def serve(
    purpose: Annotated[
        str | None, typer.Option(help="What it is for: personal, demo, research, health, ... Must be said.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="The model: a folder or zip.")] = None,
    index: Annotated[Path | None, typer.Option(help="An index of `affetto index` to search.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than this machine need keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that answer; one per core at most.")
    ] = 1,
    api_key_file: Annotated[Path | None, typer.Option(help="File of keys, one per line.")] = None,
    max_seconds: Annotated[float, typer.Option(min=1, max=3600, help="Longest recording.")] = 300.0,
    max_body: Annotated[int, typer.Option(min=1, max=512, help="Largest request in MiB.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.1, max=600, help="Longest answer in seconds.")] = 30.0,
    precision: Annotated[str | None, typer.Option(help="int8 or fp32; int8 where the bundle has it.")] = None,
    operator: Annotated[str | None, typer.Option(help="Who runs it, for the notice.")] = None,
    contact: Annotated[
        str | None, typer.Option(help="Where people concerned can ask, for the notice.")
    ] = None,
    exception: Annotated[
        str | None, typer.Option(help="medical or safety, where the purpose is else prohibited.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="The reason for an exception; goes into every answer.")
    ] = None,
) -> None:
    """Answer over HTTP and WebSocket, with a page: POST /predict, /stream, /metrics, /openapi.json.

    affetto serve --purpose demo, then open http://127.0.0.1:8000 or
    curl -F audio_file=@call.wav -F text='I see' http://127.0.0.1:8000/predict
    SIGTERM drains, SIGHUP takes the bundle anew. Exit code 78: a purpose that is refused.
    """
    from affetto.serving.auth import Keys, read_keys
    from affetto.serving.limits import Limits
    from affetto.serving.purpose import declare
    from affetto.serving.run import Settings
    from affetto.serving.run import serve as run
    from affetto.serving.workers import Source

    try:
        declared = declare(purpose, exception=exception, reason=reason, operator=operator, contact=contact)
    except ServingError as error:
        if error.code != "purpose_refused":
            raise
        print(f"error: {error} [{error.code}]", file=sys.stderr)
        raise typer.Exit(REFUSED) from None
    if precision not in (None, "int8", "fp32"):
        raise ConfigError("option_invalid", f"--precision {precision}: expected int8 or fp32")
    if bundle is not None and not bundle.exists():
        raise ConfigError("option_invalid", f"--bundle {bundle}: there is no such folder or zip")
    limits = replace(Limits(), seconds=max_seconds, body_bytes=max_body * 2**20, answer_seconds=timeout)
    keys = read_keys(api_key_file) if api_key_file is not None else Keys()
    run(Settings(declared, Source(bundle, precision, index), host, port, workers, keys, limits))
