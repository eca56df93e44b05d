"""The table of docs/corpora.md says what the readers say: the test prints the row that is missing."""

from __future__ import annotations

from pathlib import Path

from affetto.data.corpora import Description, describe_corpora

PAGE = Path(__file__).parents[2] / "docs" / "corpora.md"


def row(corpus: Description) -> str:
    labels = ", ".join(corpus.labels) if corpus.labels else "any"
    if len(corpus.labels) > 15:
        labels = f"{len(corpus.labels)} labels"
    command = f"`affetto prepare {corpus.name} PATH -o manifest.csv`"
    options = "".join(f" `{option}`" for option in corpus.options)
    return f"| {corpus.name} | {corpus.title} | {labels} | {corpus.licence} | {command} |{options} |"


def test_the_table_is_what_the_readers_say() -> None:
    written = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert written == [row(corpus) for corpus in describe_corpora()]
