"""Whisper (Radford et al. 2022) by transformers, behind `affetto.align.transcribe.Recogniser`.

The times of words come from the attention of its decoder to the audio: dynamic time warping over the heads that
the model's generation config names. A model that names none is refused, for it has no word times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affetto.align.clock import RATE
from affetto.align.transcribe import placed, speech_pieces
from affetto.errors import ConfigError
from affetto.records import Word


class Whisper:
    """A Whisper model: its folder, or the name of one that was fetched before, like `openai/whisper-base`.

    Raises ConfigError `extra_missing` without transformers and torch, and `option_invalid` for a model that is
    not on this machine, cannot be read, or has no word times.
    """

    def __init__(self, model: str = "openai/whisper-base") -> None:
        try:
            import torch
            from transformers import (
                AutomaticSpeechRecognitionPipeline,
                WhisperFeatureExtractor,
                WhisperForConditionalGeneration,
                WhisperTokenizer,
            )
        except ImportError:
            raise ConfigError(
                "extra_missing", 'Whisper needs transformers and torch: pip install "affetto[train]"'
            ) from None
        try:
            # Never over the network: which models come onto a machine is its owner's to decide.
            here: dict[str, Any] = {"local_files_only": True}
            network = WhisperForConditionalGeneration.from_pretrained(model, use_safetensors=True, **here)
            tokenizer = WhisperTokenizer.from_pretrained(model, **here)
            extractor = WhisperFeatureExtractor.from_pretrained(model, **here)
        except Exception as error:  # the hub, safetensors and the tokenizer each raise their own
            reason = " ".join(str(error).split())[:120]
            where = (
                "give a folder that save_pretrained wrote" if Path(model).exists() else _FETCH.format(model)
            )
            raise ConfigError(
                "option_invalid", f"no Whisper model {model!r} here ({reason}): {where}"
            ) from None
        self._languages = getattr(network.generation_config, "lang_to_id", None) or {}
        if not getattr(network.generation_config, "alignment_heads", None):
            raise ConfigError(
                "option_invalid",
                f"{model!r} has no word times: its generation config names no alignment_heads",
            )
        self._pipeline: Any = AutomaticSpeechRecognitionPipeline(
            model=network.eval(), tokenizer=tokenizer, feature_extractor=extractor, device=torch.device("cpu")
        )

    def transcribe(self, waveform: NDArray[np.float32], language: str | None = None) -> tuple[Word, ...]:
        """As `Recogniser.transcribe`. Stretches without speech are not given to the model."""
        options = self._options(language)
        words: list[Word] = []
        for start, end in speech_pieces(waveform):
            piece = {"raw": waveform[start:end], "sampling_rate": RATE}
            heard = self._pipeline(piece, return_timestamps="word", generate_kwargs=options)
            timed = ((chunk["text"], *_times(chunk["timestamp"], end - start)) for chunk in heard["chunks"])
            words.extend(placed(timed, start, end))
        return tuple(words)

    def _options(self, language: str | None) -> dict[str, Any]:
        """What to tell the model of its language; one that knows English only must not be told anything."""
        code = language.replace("_", "-").split("-")[0].lower() if language else None
        known = {token.strip("<|>") for token in self._languages} or {"en"}
        if code is not None and code not in known:
            raise ConfigError("option_invalid", f"this Whisper model knows no language {language!r}")
        if not self._languages:
            return {}
        return {"task": "transcribe"} if code is None else {"task": "transcribe", "language": code}


_FETCH = "fetch it once with `python -c \"import huggingface_hub as h; h.snapshot_download('{}')\"`"


def _times(stamp: tuple[float | None, float | None], samples: int) -> tuple[float, float]:
    """Start and end in seconds; Whisper leaves out the end of a word that it heard as cut off."""
    end = samples / RATE
    return (end if stamp[0] is None else stamp[0]), (end if stamp[1] is None else stamp[1])
