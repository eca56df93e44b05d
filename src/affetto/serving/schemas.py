"""The shapes of requests and answers, with examples: what `/openapi.json` says, and what JSON is checked by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

_EXAMPLE_PROBABILITIES = {
    "anger": 0.02, "disgust": 0.01, "fear": 0.01, "happiness": 0.9, "neutral": 0.03, "sadness": 0.01, "surprise": 0.02,
}  # fmt: skip
Probability = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=1, description="Answer within so long, else 504.", examples=[5000])]


class Word(BaseModel, extra="forbid"):
    """A word and when it was said, in seconds."""

    text: str = Field(min_length=1, max_length=1000, examples=["wonderful"])
    start: float = Field(ge=0, le=1e6, allow_inf_nan=False, examples=[0.42])
    end: float = Field(ge=0, le=1e6, allow_inf_nan=False, examples=[0.9])


class Options(BaseModel, extra="forbid"):
    """What else may be said about what is to be answered."""

    text: str | None = Field(None, description="What was said.", examples=["Thank you so much!"])
    words: list[Word] | None = Field(None, max_length=20_000, description="What was said, with times.")
    timeline: bool = Field(False, description="Answer every half second too.")
    labels: list[str] | None = Field(
        None, min_length=1, max_length=32, description="Only these are possible."
    )
    language: str | None = Field(None, max_length=35, description="Language of the text.", examples=["en"])


class PredictBody(Options):
    """`POST /predict` as JSON: for text alone. Sound and pictures come as multipart/form-data."""

    timeout_ms: Milliseconds | None = None


class BatchItem(Options):
    """One item of a batch; `audio` and `image` are the bytes of a file in base64."""

    id: str | None = Field(None, max_length=200, examples=["call-17"])
    audio: str | None = Field(None, description="Bytes of a WAV, FLAC, OGG or MP3 file, in base64.")
    image: str | None = Field(None, description="Bytes of a JPEG, PNG or WebP file, in base64.")


class BatchBody(BaseModel, extra="forbid"):
    """`POST /v1/predict`."""

    items: list[Any] = Field(
        min_length=1,
        examples=[[{"id": "a", "text": "Thank you so much!"}, {"id": "b", "text": "Leave me alone."}]],
    )
    timeout_ms: Milliseconds | None = None


class Search(BaseModel, extra="forbid"):
    """`POST /v1/search` as JSON: for words. Sound and pictures come as multipart/form-data."""

    text: str | None = Field(None, description="What to look for.", examples=["angry"])
    top: int = Field(10, ge=1, le=1000, description="How many to find.")
    label: str | None = Field(None, max_length=200, description="Only clips with this label.")
    speaker: str | None = Field(None, max_length=200, description="Only clips of this speaker.")
    modality: Literal["speech", "text", "vision"] | None = None
    after: str | None = Field(
        None, max_length=40, description="Only clips of this date or later.", examples=["2026-05-01"]
    )
    before: str | None = Field(None, max_length=40, description="Only clips before this date.")
    timeout_ms: Milliseconds | None = None


class Hit(BaseModel):
    """A clip, or a stretch of a recording, that was found."""

    score: float
    id: str
    file: str | None
    modality: str
    start: float | None
    end: float | None
    text: str | None
    corpus: str | None
    speaker: str | None
    labels: dict[str, str]
    date: str | None


class Hits(BaseModel):
    """What was found, the best first."""

    hits: list[Hit]


class Error(BaseModel):
    """Every answer that is not a success."""

    code: str = Field(examples=["audio_too_short"])
    message: str = Field(
        examples=["audio_file: 0.050 s of audio, expected at least 0.1 s; use a longer recording"]
    )
    request_id: str = Field(examples=["6f1c0e5d2a7b4c39"])
    retryable: bool = Field(examples=[False], description="Whether the same request may succeed later.")


class Verdict(BaseModel):
    """What one modality says, and how much the answer listened to it."""

    weight: float | None
    emotion: str
    probabilities: dict[str, Probability]


class Segment(BaseModel):
    """One step of the timeline."""

    start: float
    end: float
    emotion: str | None
    probabilities: dict[str, Probability]
    modalities: dict[str, Verdict]
    words: list[str]
    speech: float | None
    reason: str | None


class Span(BaseModel):
    """Steps of one emotion, merged."""

    start: float
    end: float
    emotion: str | None
    confidence: float
    words: list[str]
    reason: str | None


class SpokenWord(BaseModel):
    """A word; `estimated` when its time was spread, not measured."""

    text: str
    start: float
    end: float
    estimated: bool


class Prediction(BaseModel):
    """The answer. `emotion` is null when the model is unsure, and `reason` says why."""

    emotion: str | None = Field(examples=["happiness"])
    file: str | None = Field(examples=["thanks.flac"])
    duration: float | None = Field(examples=[2.1])
    confidence: Probability = Field(examples=[0.9])
    abstained: bool
    reason: str | None
    probabilities: dict[str, Probability] = Field(examples=[_EXAMPLE_PROBABILITIES])
    modalities: dict[str, Verdict]
    missing: list[str] = Field(examples=[["vision"]])
    segments: list[Segment]
    spans: list[Span]
    words: list[SpokenWord]
    tasks: dict[str, Any]
    warnings: list[str]
    model: dict[str, str]
    elapsed: float


class BatchResult(BaseModel):
    """The answer to one item: a prediction or an error."""

    id: str | None
    prediction: Prediction | None = None
    error: Error | None = None


class BatchAnswer(BaseModel):
    """The answers to a batch, in the order of its items."""

    results: list[BatchResult]


class Model(BaseModel):
    """Which model answers."""

    name: str
    version: str
    sha256: str
    licence: str
    precision: str


class TaskFacts(BaseModel):
    """A task of the model."""

    name: str
    kind: str
    labels: list[str]


class LimitFacts(BaseModel):
    """What the server accepts."""

    body_bytes: int
    seconds: float
    pixels: int
    text_characters: int
    items: int
    stream_seconds: float
    timeout_ms: int


class Index(BaseModel):
    """The index that is searched."""

    rows: int
    kind: str
    modalities: list[str]


class Labels(BaseModel):
    """`GET /labels`: what the model answers with, and what it takes."""

    labels: list[str] = Field(examples=[list(_EXAMPLE_PROBABILITIES)])
    modalities: list[str]
    languages: list[str]
    tasks: list[TaskFacts]
    model: Model
    hop: float
    index: Index | None
    limits: LimitFacts


class Live(BaseModel):
    live: Literal[True]


class Ready(BaseModel):
    ready: Literal[True]
    workers: int
    model: str


class Law(BaseModel):
    article: str
    says: str
    since: str


class Notice(BaseModel):
    """`GET /notice`: what the people concerned are to be told."""

    text: str
    purpose: str
    exception: str | None
    reason: str | None
    operator: str | None
    contact: str | None
    complete: bool
    key_required: bool
    law: list[Law]
