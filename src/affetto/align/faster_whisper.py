"""faster-whisper (Whisper on CTranslate2), where it is installed and its model is on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from affetto.align.transcribe import placed, speech_pieces
from affetto.errors import ConfigError
from affetto.records import Word


class FasterWhisper:
    """A Whisper model in CTranslate2 format: a folder, or a name like `small` that was fetched before."""

    def __init__(self, model: str = "base") -> None:
        try:
            import faster_whisper
        except ImportError:
            raise ConfigError(
                "extra_missing", "faster-whisper is not installed: pip install faster-whisper"
            ) from None
        try:
            # Never over the network: what a recording is sent through is the user's to decide.
            self._model: Any = faster_whisper.WhisperModel(
                model, device="cpu", compute_type="int8", local_files_only=True
            )
        except Exception as error:  # the hub, CTranslate2 and the tokenizer each raise their own
            reason = " ".join(str(error).split())[:160]
            raise ConfigError(
                "option_invalid",
                f"no faster-whisper model {model!r} on this machine ({reason}): give its folder, or fetch it once "
                f"with `python -c \"import faster_whisper; faster_whisper.download_model('{model}')\"`",
            ) from None

    def transcribe(self, waveform: NDArray[np.float32], language: str | None = None) -> tuple[Word, ...]:
        """As `Recogniser.transcribe`. Stretches without speech are not given to the model."""
        words: list[Word] = []
        for start, end in speech_pieces(waveform):
            try:
                segments, _ = self._model.transcribe(
                    waveform[start:end],
                    language=language,
                    word_timestamps=True,
                    condition_on_previous_text=False,
                )
            except ValueError as error:  # a language that the model does not have
                raise ConfigError("option_invalid", f"faster-whisper: {error}") from None
            for segment in segments:
                words.extend(placed(((w.word, w.start, w.end) for w in segment.words or ()), start, end))
        return tuple(words)
