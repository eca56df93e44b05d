"""`make demo`: affetto answers for a recording, a sentence, a face, and all of them at once."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent

#: What is shown, and the command that shows it.
STEPS = (
    ("A recording", ["examples/thanks.flac"]),
    ("A sentence", ["--text", "I miss him so much. The house is so empty now."]),
    ("A face", ["--image", "examples/smiling.png"]),
    (
        "All three at once",
        [
            "examples/thanks.flac",
            "--text",
            "Thank you so much, that is wonderful news, you made my day!",
            "--image",
            "examples/smiling.png",
        ],
    ),
)

NEXT = """
What to type next (`. .venv/bin/activate` first):
  affetto predict YOUR.wav --text "what was said"    your own recording
  affetto predict FOLDER -o answers.csv              every recording in a folder
  affetto predict YOUR.wav --json                    the whole answer, for programs
  affetto --help                                     everything else

The voices here are synthetic and the faces are drawn, so the answers show the form, not the skill.
How good the model is, and where it is not: docs/default-model.md
"""


def main() -> int:
    """Run each step as its own process, as a user would."""
    for title, arguments in STEPS:
        print(f"\n=== {title}\n$ affetto predict {shlex.join(arguments)}", flush=True)
        done = subprocess.run([sys.executable, "-m", "affetto", "predict", *arguments], cwd=FOLDER.parent)
        if done.returncode:
            return done.returncode
    print(NEXT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
