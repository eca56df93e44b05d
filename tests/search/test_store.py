"""The index on disk: shards, removal, damage; exact and approximate search against brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from affetto.errors import AffettoError, DataError
from affetto.search import Entry, Filters, Finder, Origin, Store, approximate, exact
from affetto.search import store as stores

WIDTH = 16
ORIGIN = Origin("ab" * 32, "paper", None, "embedding", WIDTH)


def unit_rows(count: int, seed: int = 0, groups: int = 1000) -> np.ndarray:
    """Rows of unit length around some centres, as embeddings lie."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((min(groups, count), WIDTH))
    rows = centres[rng.integers(len(centres), size=count)] + 0.4 * rng.standard_normal((count, WIDTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def entries(count: int, first: int = 0) -> list[Entry]:
    return [Entry(str(first + i), "speech", stamp=str(first + i)) for i in range(count)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "my.index", ORIGIN)
    rows = unit_rows(300)
    for first in range(0, 300, 70):
        part = rows[first : first + 70]
        made.append(part, entries(len(part), first))
    return made


def test_exact_is_brute_force_across_shards(store: Store) -> None:
    rows = unit_rows(300)
    for query in unit_rows(20, seed=1):
        found, scores = exact.nearest(store, query, 7)
        right = np.argsort(-(rows @ query), kind="stable")[:7]
        assert found.tolist() == right.tolist()
        assert scores == pytest.approx((rows @ query)[right])
    wanted = np.arange(300) % 3 == 0
    assert (exact.nearest(store, rows[1], 5, wanted)[0] % 3 == 0).all()
    assert len(exact.nearest(store, rows[0], 1000)[0]) == 300


def test_equal_scores_stand_in_the_order_of_their_rows(tmp_path: Path) -> None:
    same = Store.create(tmp_path / "i", ORIGIN)
    row = np.eye(1, WIDTH, dtype=np.float32)
    same.append(np.repeat(row, 9, axis=0), entries(9))
    assert exact.nearest(same, row[0], 4)[0].tolist() == [0, 1, 2, 3]


def test_what_was_appended_is_there_when_opened_again(store: Store) -> None:
    again = Store(store.folder)
    assert (len(again), again.origin) == (300, ORIGIN)
    assert [entry.id for entry in again.entries()] == [str(i) for i in range(300)]
    assert again.entry(210).id == "210"
    assert (again.vectors([299])[0] == unit_rows(300)[299]).all()


def test_removal_leaves_the_rest_and_no_files(store: Store) -> None:
    assert store.remove(lambda entry: int(entry.id) % 2 == 1) == 150
    again = Store(store.folder)
    assert [entry.id for entry in again.entries()] == [str(i) for i in range(0, 300, 2)]
    assert (again.vectors([5])[0] == unit_rows(300)[10]).all()
    assert len(list(store.folder.glob("*.npy"))) == 1
    assert again.remove(lambda entry: False) == 0
    assert again.remove(lambda entry: True) == 150
    assert len(Store(store.folder)) == 0
    assert Finder(Store(store.folder)).find(unit_rows(1)[0]) == []


def test_large_shards_are_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SHARD_ROWS", 100)
    store.remove(lambda entry: False)
    # Four of 70 are large enough to stay; the last has 20 rows, and no other to be merged with.
    assert [len(shard) for shard in store.shards] == [70, 70, 70, 70, 20]
    store.remove(lambda entry: 50 <= int(entry.id) < 190)
    assert [len(shard) for shard in store.shards] == [70, 90]
    assert sorted(int(entry.id) for entry in store.entries()) == [*range(50), *range(190, 300)]


def test_a_shard_that_the_contents_do_not_name_does_not_exist(store: Store) -> None:
    """What a run leaves behind that is killed between writing a shard and naming it."""
    np.save(store.folder / "000005.npy", unit_rows(3))
    (store.folder / "000005.jsonl").write_text("half a li")
    again = Store(store.folder)
    again.append(unit_rows(2, seed=5), entries(2, 300))
    assert [entry.id for entry in Store(store.folder).entries()][-2:] == ["300", "301"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("index.json", b"{"),
        ("index.json", b'{"format": 99}'),
        ("index.json", b"[]"),
        ("000000.npy", b"no array"),
        ("000000.jsonl", b""),
    ],
)
def test_damage_is_told(store: Store, file: str, content: bytes) -> None:
    (store.folder / file).write_bytes(content)
    with pytest.raises(DataError) as caught:
        Store(store.folder)
    assert caught.value.code == "index_invalid"


def test_a_folder_without_an_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        Store(tmp_path)
    assert caught.value.code == "index_not_found"


def test_filters() -> None:
    entry = Entry(
        "a",
        "speech",
        speaker="7",
        labels={"emotion": "anger|fear"},
        date=stores.utc("2026-05-01T10:00+02:00"),
    )
    admitted = [
        Filters(), Filters(label="angry"), Filters(label="FEAR"), Filters(speaker="7"),
        Filters(modality="speech"), Filters(after="2026-05-01T08:00"), Filters(before="2026-05-01T08:00:01"),
    ]  # fmt: skip
    refused = [
        Filters(label="sad"), Filters(speaker="8"), Filters(modality="text"), Filters(after="2026-05-01T08:00:01"),
        Filters(before="2026-05-01T08:00"), Filters(label="angry", speaker="8"),
    ]  # fmt: skip
    assert all(each.admit(entry) for each in admitted)
    assert not any(each.admit(entry) for each in refused)
    assert not Filters(before="2027-01-01").admit(Entry("b", "speech"))
    with pytest.raises(AffettoError) as caught:
        Filters(after="yesterday")
    assert caught.value.code == "option_invalid"


# --- by cells ---


@pytest.fixture
def large(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "large.index", ORIGIN)
    rows = unit_rows(6000)
    for first in range(0, 6000, 2000):
        made.append(rows[first : first + 2000], entries(2000, first))
    return made


def test_cells_find_what_brute_force_finds(large: Store) -> None:
    pytest.importorskip("faiss")
    cells = approximate.Approximate(large)
    recall = [
        len(set(cells.nearest(query, 10)[0]) & set(exact.nearest(large, query, 10)[0])) / 10
        for query in unit_rows(6000)[::120] + np.float32(0.01)
    ]
    assert np.mean(recall) >= 0.95
    rows, scores = cells.nearest(unit_rows(6000)[4321], 3)
    assert rows[0] == 4321
    assert scores[0] == pytest.approx(1.0, abs=1e-5)


def test_a_build_goes_on_where_it_was(large: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    paths = approximate.build(large)
    paths[1].unlink()
    times = [path.stat().st_mtime_ns for path in (paths[0], paths[2])]
    made: list[str] = []
    real = approximate._filled
    monkeypatch.setattr(approximate, "_filled", lambda *given: (made.append(given[1].name), real(*given))[1])
    approximate.build(large)
    assert made == ["000001"]
    assert [path.stat().st_mtime_ns for path in (paths[0], paths[2])] == times
    monkeypatch.setattr(stores, "SHARD_ROWS", 2000)
    large.remove(lambda entry: entry.id == "0")
    approximate.build(large)
    assert not paths[0].exists()
    assert {path.stem for path in paths[0].parent.glob("0*.faiss")} == {shard.name for shard in large.shards}


def test_a_large_store_is_searched_by_cells_and_with_filters_exactly(
    large: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(approximate, "ABOVE", 5000)
    finder = Finder(large)
    query = unit_rows(6000)[77]
    assert finder.find(query, 1)[0].entry.id == "77"
    assert (large.folder / "approximate").is_dir()
    assert finder.find(query, 5, Filters(speaker="nobody")) == []
    assert len(finder.find(query, 5, Filters(modality="speech"))) == 5


# --- in a database ---


def test_a_collection_answers_as_the_store_does(store: Store) -> None:
    client = pytest.importorskip("qdrant_client").QdrantClient(":memory:")
    from affetto.search.qdrant import Collection

    store.append(
        unit_rows(2, seed=9),
        [
            Entry(
                "x",
                "vision",
                speaker="7",
                labels={"emotion": "anger"},
                date=stores.utc("2026-05-01"),
                stamp="x",
            ),
            Entry("y", "vision", speaker="8", date=stores.utc("2026-06-01"), stamp="y"),
        ],
    )
    collection = Collection(client, "clips", ORIGIN)
    collection.copy(store)
    finder = Finder(store)
    asked = [
        Filters(), Filters(label="angry"), Filters(speaker="8"), Filters(modality="vision", before="2026-05-15"),
        Filters(after="2026-05-15"), Filters(speaker="9"),
    ]  # fmt: skip
    for filters in asked:
        there, here = (each.find(unit_rows(1, seed=3)[0], 5, filters) for each in (collection, finder))
        assert [hit.entry for hit in there] == [hit.entry for hit in here], filters
        assert [hit.score for hit in there] == pytest.approx([hit.score for hit in here], abs=1e-5)
    store.remove(lambda entry: entry.speaker == "8")
    collection.copy(store)
    assert client.count(collection.name).count == len(store) == 301


def test_contents_say_which_bundle(store: Store) -> None:
    assert json.loads((store.folder / "index.json").read_text())["origin"]["sha256"] == ORIGIN.sha256
