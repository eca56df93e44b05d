import numpy as np
import pytest

from affetto.errors import DataError
from affetto.learn.config import TaskConfig
from affetto.learn.training.targets import label_of, single_label, target_of, targets_of, with_people
from affetto.records import Clip

EMOTION = TaskConfig("emotion", labels=("anger", "fear", "joy"))
TOPICS = TaskConfig("topics", "multi-label", ("a", "b", "c"))
VALENCE = TaskConfig("valence", "dimension")
LANGUAGE = TaskConfig("language", labels=("en", "other"))


@pytest.mark.parametrize(
    ("label", "target"),
    [
        ("fear", [0, 1, 0]),
        (("anger", "joy"), [0.5, 0, 0.5]),
        ({"anger": 6, "fear": 2}, [0.75, 0.25, 0]),
        ({"anger": 0.0}, None),
    ],
)
def test_single_label_targets_are_distributions(label, target):
    found = target_of(Clip("1", labels={"emotion": label}), EMOTION)
    if target is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, target)


@pytest.mark.parametrize(
    ("label", "target"), [("b", [0, 1, 0]), (("a", "c"), [1, 0, 1]), ({"a": 1, "b": 3}, [0.25, 0.75, 0])]
)
def test_multi_label_targets_answer_each_question(label, target):
    np.testing.assert_allclose(target_of(Clip("1", labels={"topics": label}), TOPICS), target)


def test_missing_labels_are_masked():
    clips = [Clip("1", labels={"valence": 0.5}), Clip("2"), Clip("3", labels={"emotion": "joy"})]
    values, mask = targets_of(clips, VALENCE)
    np.testing.assert_array_equal(values, np.array([0.5, 0, 0], np.float32))
    np.testing.assert_array_equal(mask, [True, False, False])
    values, mask = targets_of(clips, EMOTION)
    assert values.shape == (3, 3)
    np.testing.assert_array_equal(mask, [False, False, True])


def test_language_is_read_from_the_clip():
    assert target_of(Clip("1", language="en"), LANGUAGE).tolist() == [1, 0]
    assert target_of(Clip("1", language="pl"), LANGUAGE).tolist() == [0, 1]
    assert target_of(Clip("1", language="pl", labels={"language": "en"}), LANGUAGE).tolist() == [1, 0]
    assert target_of(Clip("1"), LANGUAGE) is None


@pytest.mark.parametrize("label", ["happy", ("joy", "happy"), {"happy": 1}, 0.5])
def test_unknown_labels_are_refused_with_the_clip(label):
    with pytest.raises(DataError, match=r"clip c7.*expected one of anger, fear, joy") as error:
        target_of(Clip("c7", labels={"emotion": label}), EMOTION)
    assert error.value.code == "label_unknown"


def test_a_dimension_wants_a_number():
    with pytest.raises(DataError, match="expected a number"):
        target_of(Clip("c7", labels={"valence": "high"}), VALENCE)


@pytest.mark.parametrize(
    ("label", "clear"),
    [
        ("joy", "joy"),
        (("joy",), "joy"),
        (("joy", "fear"), None),
        ({"joy": 6, "fear": 4}, "joy"),
        ({"joy": 5, "fear": 5}, None),
    ],
)
def test_single_label_is_what_is_clear(label, clear):
    assert single_label(Clip("1", labels={"emotion": label}), EMOTION) == clear


SPEAKER = TaskConfig("speaker", "identity")


def test_an_identity_takes_the_people_of_the_clips():
    clips = [Clip("1", speaker="b", corpus="x"), Clip("2", speaker="a", corpus="y"), Clip("3")]
    emotion, speaker = with_people((EMOTION, SPEAKER), clips)
    assert emotion is EMOTION
    assert speaker.labels == ("x/b", "y/a")
    targets, mask = targets_of([*clips, Clip("4", speaker="a", corpus="x")], speaker)
    assert targets.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]
    assert mask.tolist() == [True, True, False, False]  # nobody, and somebody who was not trained on
    assert with_people((speaker,), []) == (speaker,)


def test_an_identity_needs_two_people():
    with pytest.raises(DataError, match="name 1 speakers"):
        with_people((SPEAKER,), [Clip("1", speaker="b"), Clip("2", speaker="b")])


def test_attributes_are_labels_of_tasks_of_their_name():
    clip = Clip("1", gender="female", attributes={"intensity": "strong", "age": "31"})
    assert label_of(clip, TaskConfig("intensity", labels=("normal", "strong"))) == "strong"
    assert label_of(clip, TaskConfig("gender", labels=("female", "male"))) == "female"
    assert target_of(clip, TaskConfig("age", "dimension")) == 31.0
    assert label_of(clip, TaskConfig("dialect", labels=("north",))) is None
