"""The bundle: what learning writes, the runtime reads, and learning can start from again.

A bundle is a folder, or one zip of it. `bundle.json` is its contract: the tasks with their labels in order,
what each part wants as input, calibration, licence, and the sha256 of every other file. Opening a bundle
verifies all of it before anything is used; a bundle holds ONNX, safetensors, JSON and Markdown, never code.

    contract  what bundle.json says
    storage   where the files lie: a folder or a zip
    opening   a bundle opened and verified, its parts read
"""

from affetto.bundle.contract import (
    FORMAT_VERSION,
    BundleInfo,
    Calibration,
    CorpusInfo,
    EmbeddingInfo,
    FeaturesPart,
    Parts,
    SpeechPart,
    TaskInfo,
    TextPart,
    VectorScale,
    VisionPart,
    Voice,
    first_problem,
    subset_key,
)
from affetto.bundle.opening import (
    DEFAULT_BUNDLE,
    FUSION,
    PRECISIONS,
    Bundle,
    describe,
    open_bundle,
    part_file,
)
from affetto.bundle.storage import CONTRACT

__all__ = [
    "CONTRACT",
    "DEFAULT_BUNDLE",
    "FORMAT_VERSION",
    "FUSION",
    "PRECISIONS",
    "Bundle",
    "BundleInfo",
    "Calibration",
    "CorpusInfo",
    "EmbeddingInfo",
    "FeaturesPart",
    "Parts",
    "SpeechPart",
    "TaskInfo",
    "TextPart",
    "VectorScale",
    "VisionPart",
    "Voice",
    "describe",
    "first_problem",
    "open_bundle",
    "part_file",
    "subset_key",
]
