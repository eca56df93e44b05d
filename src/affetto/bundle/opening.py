"""A bundle on disk, opened: every byte verified before anything is used, and again when it is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from affetto.bundle.contract import FORMAT_VERSION, BundleInfo, first_problem
from affetto.bundle.storage import CONTRACT, BundleStorage
from affetto.errors import BundleError
from affetto.onnx_file import has_nan, points_outside

PRECISIONS: tuple[str, ...] = ("int8", "fp32")
FUSION = "fusion"
DEFAULT_BUNDLE = Path(__file__).parents[1] / "bundles" / "default"

_CONTRACT_LIMIT = 4 << 20  # bytes; a contract is some kilobytes


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, every byte verified. `sha256` is that of bundle.json and so vouches for all files."""

    path: Path
    info: BundleInfo
    sha256: str

    def precisions(self) -> tuple[str, ...]:
        """The precisions whose parts are all there."""
        needed = (*self.info.parts.modalities(), FUSION)
        return tuple(p for p in PRECISIONS if all(part_file(name, p) in self.info.files for name in needed))

    def read(self, name: str) -> bytes:
        """The bytes of one file, verified again: what is used is what was vouched for.

        Raises BundleError `bundle_tampered` when the file changed since, `bundle_not_found` when not listed.
        """
        if name not in self.info.files:
            raise BundleError(
                "bundle_not_found", f"{self.path} holds no {name}: it has {', '.join(self.info.files)}"
            )
        with BundleStorage(self.path) as storage, storage.open(name) as stream:
            data = stream.read()
        _verify(self.path, name, hashlib.sha256(data).hexdigest(), self.info.files[name])
        return data

    def read_part(self, name: str, precision: str) -> bytes:
        """The ONNX bytes of one part: "speech", "text", "vision" or "fusion".

        Raises BundleError `bundle_not_found` when the bundle lacks the precision, `bundle_invalid` when the
        graph points at data outside itself or holds NaN.
        """
        file = part_file(name, precision)
        if file not in self.info.files:
            raise BundleError(
                "bundle_not_found",
                f"{self.path} has no {precision} {name} (it has {', '.join(self.precisions()) or 'none'}): "
                f"make it with `affetto export {self.path} -o OUT --precision {precision}`",
            )
        data = self.read(file)
        if points_outside(data):
            raise BundleError("bundle_invalid", f"{self.path}: {file} points at data outside itself; refused")
        if has_nan(data):
            raise BundleError(
                "bundle_invalid", f"{self.path}: {file} has NaN among its weights; train it again"
            )
        return data


def part_file(part: str, precision: str) -> str:
    """The file name of a part: `speech.onnx` in fp32, `speech.int8.onnx` in int8."""
    return f"{part}.onnx" if precision == "fp32" else f"{part}.{precision}.onnx"


def open_bundle(path: str | Path | None = None) -> Bundle:
    """Open and verify a bundle: a folder or a zip; the one that ships inside affetto when `path` is None.

    Raises BundleError `bundle_not_found` (no such bundle, a listed file missing), `bundle_invalid` (unknown
    format version, a contract that cannot be understood, a path that leaves the bundle), `bundle_tampered` (a
    sha256 differs).
    """
    root = DEFAULT_BUNDLE if path is None else Path(path)
    with BundleStorage(root) as storage:
        if not storage.has(CONTRACT):
            raise BundleError(
                "bundle_not_found", f"{root} is not a bundle: expected a folder or zip with {CONTRACT}"
            )
        with storage.open(CONTRACT) as stream:
            contract = stream.read(_CONTRACT_LIMIT + 1)
        info = _parse_contract(root, contract)
        for name, expected in info.files.items():
            if not storage.has(name):
                raise BundleError(
                    "bundle_not_found",
                    f"{root} is incomplete: {name} is listed but not there; fetch it again",
                )
            with storage.open(name) as stream:
                _verify(root, name, _digest(stream), expected)
    return Bundle(root, info, hashlib.sha256(contract).hexdigest())


def describe(bundle: Bundle) -> str:
    """A bundle in plain words, some lines of text."""
    info = bundle.info
    lines = [f"{info.name} {info.version} ({info.licence}), sha256 {bundle.sha256[:12]}"]
    lines += [f"task {t.name} ({t.kind}): {', '.join(t.labels) or 'a number'}" for t in info.tasks]
    lines.append(f"parts: {', '.join(info.parts.modalities())}; precisions: {', '.join(bundle.precisions())}")
    if info.embedding is not None:
        lines.append(f"one space of {info.embedding.width} for {', '.join(info.embedding.modalities)}")
    if info.parts.text is not None:
        lines.append(f"reads text in: {', '.join(info.parts.text.languages)}")
    lines += [
        f"trained on {c.name} ({c.licence}{f', {c.clips} clips' if c.clips else ''})" for c in info.corpora
    ]
    lines += [f"never trained on {', '.join(people)} of {corpus}" for corpus, people in info.reserved.items()]
    return "\n".join(lines)


def _parse_contract(root: Path, contract: bytes) -> BundleInfo:
    if len(contract) > _CONTRACT_LIMIT:
        raise BundleError("bundle_invalid", f"{root}: {CONTRACT} is larger than {_CONTRACT_LIMIT >> 20} MiB")
    try:
        raw = json.loads(contract)
        version = raw["format"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise BundleError(
            "bundle_invalid", f"{root}: {CONTRACT} is not JSON with a `format` version"
        ) from error
    if version != FORMAT_VERSION:
        raise BundleError(
            "bundle_invalid",
            f"{root} has bundle format {version!r}, expected {FORMAT_VERSION}: update affetto",
        )
    try:
        return BundleInfo.model_validate_json(contract)
    except ValidationError as error:
        raise BundleError("bundle_invalid", f"{root}: {CONTRACT}: {first_problem(error)}") from error


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _verify(root: Path, name: str, found: str, expected: str) -> None:
    if found != expected:
        raise BundleError(
            "bundle_tampered",
            f"{root}: {name} was changed (sha256 {found[:12]}, expected {expected[:12]}); fetch it again",
        )
