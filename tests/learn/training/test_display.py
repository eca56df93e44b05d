import io

from rich.console import Console

from affetto.learn.training.display import Display

SCORES = {"emotion.speech.uar": 0.4, "emotion.speech.wa": 0.5}
RECORD = {"stage": "speech", "step": 8, "epoch": 2.0, "loss": 0.51, "scores": SCORES}


def run(display):
    assert list(display.wrap([1, 2, 3], "reading")) == [1, 2, 3]
    display.stage("speech", 10, 4)
    display.step(5, 0.6)
    display.validated(RECORD)
    display.end()


def test_a_pipe_gets_plain_lines_and_no_bar():
    target = io.StringIO()
    run(Display(Console(file=target, width=80)))
    lines = target.getvalue().splitlines()
    assert lines[0] == "stage speech: 10 steps, going on after 4"
    assert "speech step 8 (epoch 2.0" in lines[1]
    assert lines[1].endswith("loss 0.510  emotion.speech.uar 0.400")
    assert len(lines) == 2
    assert "\x1b" not in target.getvalue()


def test_a_terminal_gets_a_bar():
    target = io.StringIO()
    run(Display(Console(file=target, width=80, force_terminal=True)))
    assert "5/10" in target.getvalue() or "4/10" in target.getvalue()
    assert "reading" in target.getvalue()


def test_without_a_console_nothing_is_written(capsys):
    run(Display())
    assert capsys.readouterr() == ("", "")
