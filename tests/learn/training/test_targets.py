import numpy as np
import pytest

from affetto.errors import DataError
from affetto.learn.config import TaskConfig
from affetto.learn.training.targets import single_label, target_of, targets_of
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
