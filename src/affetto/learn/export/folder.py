"""A bundle's folder, written so that it is there whole or not at all. Knows nothing of models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from affetto.bundle import CONTRACT, Bundle, BundleInfo, first_problem, open_bundle
from affetto.errors import BundleError


def write_bundle_folder(out: str | Path, info: BundleInfo, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle folder so that it is there whole or not at all, and open it again.

    `files` maps names to contents; their hashes and `info` go into bundle.json last. An earlier bundle at
    `out` is replaced; anything else there is refused with `run_exists`.
    """
    out = Path(out)
    if out.exists() and not (out / CONTRACT).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError("run_exists", f"{out} exists and is not a bundle: choose another folder")
    staging: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        staging.chmod(0o755)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
        # Validated again as a whole: only now are the names of the files known.
        whole = BundleInfo.model_validate({**info.model_dump(), "files": hashes})
        for name, data in files.items():
            _write_synced(staging / name, data)
        _write_synced(staging / CONTRACT, as_json(whole.model_dump()))
        open_bundle(staging)
        _replace_folder(staging, out)
    except ValidationError as error:
        raise BundleError("bundle_invalid", f"cannot write {out}: {first_problem(error)}") from error
    except OSError as error:
        raise BundleError("output_unwritable", f"cannot write a bundle at {out}: {error.strerror}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return open_bundle(out)


def as_json(content: Any) -> bytes:
    """A JSON file of a bundle."""
    return (json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _replace_folder(new: Path, old: Path) -> None:
    if not old.exists():
        new.rename(old)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{old.name}.old.", dir=old.parent))
    old.rename(aside / old.name)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)
