"""The short form of `benchmarks/survival.py`: writers of checkpoints and runs, killed at random moments."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "survival.py"


def test_kill_9_loses_nothing_that_was_saved_and_changes_nothing():
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--writer", "12", "--runs", "2"],
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    writer, runs = (next(iter(json.loads(line).values())) for line in done.stdout.splitlines())
    assert writer["kills"] == 12
    assert writer["inside_a_save"] > 0
    assert writer["unreadable"] == writer["wrong"] == writer["saves_lost"] == 0
    assert runs["kills"] == 2
    assert runs["different_losses"] == runs["different_files"] == 0
    assert runs["most_steps_again"] <= 1
