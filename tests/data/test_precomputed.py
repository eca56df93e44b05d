"""Features in archives: rows and whole arrays, vectors and sequences, and everything that is no such thing."""

from __future__ import annotations

import numpy as np
import pytest

from affetto.data.manifest import read_manifest, write_manifest
from affetto.data.precomputed import FeatureArchives, without_padding
from affetto.errors import DataError
from affetto.records import Clip


@pytest.fixture
def archive(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "vectors": rng.normal(size=(4, 3)),
        "train/text": rng.normal(size=(2, 5, 3)).astype(np.float32),
        "clip/7": rng.normal(size=(6, 3)).astype(np.float32),
        "names": np.array(["a", "b"]),
        "cube": np.zeros((2, 2, 2, 2), np.float32),
        "broken": np.array([[1.0, np.nan]]),
    }
    arrays["train/text"][1, :2] = arrays["train/text"][1, 4:] = 0
    np.savez(tmp_path / "f.npz", **arrays)
    return str(tmp_path / "f.npz"), arrays


def test_rows_and_whole_arrays(archive):
    path, arrays = archive
    read = FeatureArchives().read
    np.testing.assert_allclose(read(f"{path}#vectors/2"), arrays["vectors"][2:3], rtol=1e-6)
    np.testing.assert_array_equal(read(f"{path}#train/text/0"), arrays["train/text"][0])
    np.testing.assert_array_equal(read(f"{path}#clip/7"), arrays["clip/7"])
    assert read(f"{path}#vectors").shape == (4, 3)
    assert read(f"{path}#vectors/2").dtype == np.float32


def test_zero_steps_at_the_ends_are_no_steps(archive):
    path, arrays = archive
    np.testing.assert_array_equal(
        FeatureArchives().read(f"{path}#train/text/1"), arrays["train/text"][1, 2:4]
    )
    inside = np.array([[0, 0], [1, 0], [0, 0], [0, 2], [0, 0]], np.float32)
    np.testing.assert_array_equal(without_padding(inside), inside[1:4])
    assert without_padding(np.zeros((4, 2), np.float32)).shape == (1, 2)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("f.npz", "expected FILE.npz#ARRAY"),
        ("f.wav#a/1", "expected FILE.npz#ARRAY"),
        ("f.npz#vectors/4", "4 rows"),
        ("f.npz#other/1", "the archive has vectors"),
        ("f.npz#names/0", "expected numbers"),
        ("f.npz#cube/0", r"got \[2, 2, 2\]"),
        ("f.npz#broken/0", "not finite"),
        ("gone.npz#a/0", "can be opened"),
        ("gone.npz#a", "cannot be read"),
    ],
)
def test_everything_else_is_refused_by_name(archive, tmp_path, source, said):
    with pytest.raises(DataError, match=said) as error:
        FeatureArchives().read(str(tmp_path / source))
    assert error.value.code == "features_invalid"
    assert source.partition("#")[0] in str(error.value)


def test_an_archive_of_objects_is_never_unpickled(tmp_path):
    ran = []

    class Bomb:
        def __reduce__(self):
            return ran.append, (1,)

    np.savez(tmp_path / "f.npz", a=np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        FeatureArchives().read(f"{tmp_path / 'f.npz'}#a/0")


def test_a_manifest_holds_features_of_each_modality(tmp_path):
    (tmp_path / "m.csv").write_text(
        "id,features:speech,features:text,text,label:stance\n1,f.npz#s/0,f.npz#t/0,hello,for\n"
    )
    (clip,) = read_manifest(tmp_path / "m.csv")
    folder = str(tmp_path)
    assert clip.features == {"speech": f"{folder}/f.npz#s/0", "text": f"{folder}/f.npz#t/0"}
    assert clip.text == "hello"
    assert clip.modalities() == ("speech", "text")
    write_manifest([clip], tmp_path / "n.csv")
    assert read_manifest(tmp_path / "n.csv") == [clip]
    assert "f.npz#s/0" in (tmp_path / "n.csv").read_text()
    assert folder not in (tmp_path / "n.csv").read_text()


def test_features_of_an_unknown_modality_are_refused(tmp_path):
    (tmp_path / "m.csv").write_text("id,features:smell\n1,f.npz#s/0\n")
    with pytest.raises(DataError, match="features:smell"):
        read_manifest(tmp_path / "m.csv")


def test_features_are_evidence_unless_the_words_were_given():
    clip = Clip("1", text="given", features={"text": "f.npz#t/0", "vision": "f.npz#v/0"})
    assert clip.modalities() == ("text", "vision")
    scripted = Clip("1", text="given", scripted=True, features={"text": "f.npz#t/0", "vision": "f.npz#v/0"})
    assert scripted.modalities() == ("vision",)
