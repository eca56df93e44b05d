"""Whisper by transformers: the real code on a model of random weights, saved and loaded without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affetto.align import transcribe as pieces
from affetto.align.transcribe import load_recogniser
from affetto.errors import ConfigError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>")
MORE = ("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of two languages whose words are single bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    folder = tmp_path_factory.mktemp("whisper")
    times = [f"<|{step * 0.02:.2f}|>" for step in range(1501)]
    vocabulary = {
        token: place for place, token in enumerate([*sorted(ByteLevel.alphabet()), *SPECIAL, *MORE, *times])
    }
    transformers.WhisperTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    end, start = vocabulary["<|endoftext|>"], vocabulary["<|startoftranscript|>"]
    size = {
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    torch.manual_seed(0)
    network = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=len(vocabulary), d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, max_target_positions=64,
            decoder_start_token_id=start, eos_token_id=end, bos_token_id=end, pad_token_id=end,
            suppress_tokens=None, begin_suppress_tokens=None, **size,
        )
    )  # fmt: skip
    network.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=start, eos_token_id=end, bos_token_id=end, pad_token_id=end, max_length=30,
        no_timestamps_token_id=vocabulary["<|notimestamps|>"], is_multilingual=True,
        lang_to_id={token: vocabulary[token] for token in ("<|en|>", "<|de|>")},
        task_to_id={task: vocabulary[f"<|{task}|>"] for task in ("translate", "transcribe")},
        alignment_heads=[[0, 0], [1, 1]], prev_sot_token_id=vocabulary["<|startofprev|>"],
    )  # fmt: skip
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def all_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "speech_spans", lambda probability: ((1.0, 2.0), (60.0, 61.5)))


@pytest.mark.usefixtures("all_is_speech")
@pytest.mark.filterwarnings("ignore")
def test_words_have_times_within_their_pieces(model: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(70 * 16_000).astype(np.float32) * 0.1
    recogniser = load_recogniser(f"whisper:{model}")
    words = recogniser.transcribe(noise, "en")
    assert words  # what random weights hear
    assert {int(word.start) // 60 for word in words} == {0, 1}
    assert all(0.8 < w.start <= w.end < 2.2 or 59.8 < w.start <= w.end < 61.7 for w in words)
    assert all(word.text == word.text.strip() for word in words)
    assert recogniser.transcribe(noise, "en-GB") == words
    with pytest.raises(ConfigError, match="no language 'fr'"):
        recogniser.transcribe(noise, "fr")


def test_silence_is_not_given_to_the_model(model: Path) -> None:
    assert load_recogniser(f"whisper:{model}").transcribe(np.zeros(32_000, np.float32)) == ()


def test_models_that_cannot_be_used(model: Path, tmp_path: Path) -> None:
    for name, message in ((str(tmp_path), "save_pretrained"), ("nobody/nothing", "snapshot_download")):
        with pytest.raises(ConfigError, match=message) as caught:
            load_recogniser(f"whisper:{name}")
        assert caught.value.code == "option_invalid"
        assert "\n" not in str(caught.value)
    deaf = tmp_path / "deaf"
    deaf.mkdir()
    for file in model.iterdir():
        text = file.read_bytes()
        if file.name == "generation_config.json":
            text = text.replace(b'"alignment_heads"', b'"other_heads"')
        (deaf / file.name).write_bytes(text)
    with pytest.raises(ConfigError, match="alignment_heads"):
        load_recogniser(f"whisper:{deaf}")
