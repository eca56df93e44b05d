"""`affetto encode`: what a bundle's encoders say of clips, as features that train and compare read."""

import csv

import numpy as np
import pytest
import soundfile

from affetto.cli.app import main
from affetto.cli.train import find_config
from affetto.data.manifest import read_manifest
from affetto.data.precomputed import FeatureArchives
from affetto.features.text import load_tokenizer
from affetto.learn.export.encoding import encode_clips
from affetto.learn.export.parts import Parts
from affetto.learn.export.writer import load_config
from affetto.learn.training.media_cache import MediaCache
from affetto.records import Clip
from sounds import voice_like

TEXTS = ("I am so happy", "leave me alone", "")


@pytest.fixture
def manifest(tmp_path):
    """Twelve recordings of 0.3 to 1.4 s, some with a text."""
    rows = []
    for i in range(12):
        soundfile.write(tmp_path / f"{i}.wav", 0.5 * voice_like(0.3 + 0.1 * i, seed=i), 16000)
        rows.append((f"{i}.wav", TEXTS[i % 3], f"p{i % 4}", ("angry", "sad")[i % 2], "test" if i > 8 else ""))
    path = tmp_path / "my.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "speaker", "emotion", "split"), *rows])
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["encode", *map(str, arguments)])
    return stopped.value.code


@pytest.mark.parametrize("pool", [False, True])
def test_features_are_what_the_encoders_say(manifest, tmp_path, tiny_bundle, pool):
    more = ("--pool",) if pool else ()
    assert run(manifest, "-o", tmp_path / "out", "--bundle", tiny_bundle.path, *more) == 0
    before, after = read_manifest(manifest), read_manifest(tmp_path / "out" / "manifest.csv")
    cache = MediaCache(load_config(tiny_bundle), load_tokenizer(tiny_bundle.read("tokenizer.json")))
    cache.add(before)
    parts = Parts({name: tiny_bundle.read_part(name, "int8") for name in ("speech", "text", "fusion")})
    archives = FeatureArchives()
    for one, other in zip(before, after, strict=True):
        assert (one.id, one.speaker, one.split) == (other.id, other.speaker, other.split)
        assert one.labels == other.labels
        assert (other.speech, other.text) == (None, None)
        assert set(other.features) == set(one.modalities())
        for name, track in parts.encode_items([cache.inputs(one)])[0].items():
            expected = track.values[0].mean(axis=0, keepdims=True) if pool else track.values[0]
            np.testing.assert_allclose(archives.read(other.features[name]), expected, atol=1e-6)
    found = find_config(str(tmp_path / "out" / "manifest.csv")).model.features
    sizes = {name: section.size for name, section in found.items()}
    assert sizes == dict.fromkeys(("speech", "text"), load_config(tiny_bundle).dim)


def test_what_cannot_be_read_is_left_out_and_named(manifest, tmp_path, tiny_bundle, capsys):
    (tmp_path / "3.wav").write_bytes(b"RIFF, and nothing of the kind")
    assert run(manifest, "-o", tmp_path / "out", "--bundle", tiny_bundle.path) == 3
    assert "1 clips left out" in " ".join(capsys.readouterr().out.split())
    assert len(read_manifest(tmp_path / "out" / "manifest.csv")) == 11
    assert "3.wav" in (tmp_path / "out" / "unreadable.csv").read_text()


def test_what_brings_nothing_to_encode_is_left_out_too(tmp_path, tiny_bundle):
    clips = [Clip("a", text="I am so happy"), Clip("b", text="leave me alone", scripted=True)]
    left_out = encode_clips(tiny_bundle, clips, tmp_path / "out")
    assert list(left_out) == [(None, "b")]
    assert [clip.id for clip in read_manifest(tmp_path / "out" / "manifest.csv")] == ["a"]


def test_clips_without_anything_to_encode_are_one_line(tmp_path, tiny_bundle, capsys):
    (tmp_path / "my.csv").write_text("features:speech,emotion\nf.npz#a,angry\n")
    assert run(tmp_path / "my.csv", "-o", tmp_path / "out", "--bundle", tiny_bundle.path) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
