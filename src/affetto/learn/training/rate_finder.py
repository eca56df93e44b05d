"""Which learning rate? Some steps of the first stage at rates that rise from nothing until the loss flies off.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks". Nothing of it is kept but the curve.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from affetto.errors import TrainingError
from affetto.files import write_whole
from affetto.learn.config import ExperimentConfig
from affetto.learn.training.display import Display
from affetto.learn.training.distillation import Teacher
from affetto.learn.training.loaders import make_loader
from affetto.learn.training.loop import Start, begin, check_runnable, teach
from affetto.learn.training.optimisation import freeze, set_training_mode
from affetto.learn.training.run_folder import RunFolder
from affetto.learn.training.stage import StageModule, StageState
from affetto.records import Batch, Clip

STEPS = 100
_LOWEST, _HIGHEST = 1e-6, 1.0
_SMOOTHING = 0.9
_FLOWN = 4.0  # times the lowest loss


@dataclass(frozen=True)
class RateCurve:
    """Rates that were tried, in order, and the smoothed loss at each."""

    rates: Sequence[float]
    losses: Sequence[float]

    @property
    def suggestion(self) -> float:
        """Where the loss falls fastest over the logarithm of the rate."""
        falls = [after - before for before, after in zip(self.losses, self.losses[1:], strict=False)]
        return self.rates[falls.index(min(falls))]


def find_rate(
    config: ExperimentConfig,
    clips: Sequence[Clip],
    *,
    start: Start | None = None,
    teachers: Mapping[str, Teacher] | None = None,
    steps: int | None = None,
) -> RateCurve:
    """The curve of the experiment's first stage, over at most `steps` (`STEPS`) steps.

    Raises what `fit` raises, and TrainingError `loss_not_finite` when not even the lowest rates can be taken.
    """
    steps = steps or STEPS
    with TemporaryDirectory() as folder, torch.random.fork_rng():
        check_runnable(config)
        kept = RunFolder(Path(folder))
        kept.predictions.mkdir()
        run, _ = begin(config, clips, kept, start=start, teachers=teachers, display=Display())
        stage = config.train.stages[0]
        freeze(run.recogniser, stage.freeze)
        module = StageModule(run, stage, StageState())
        teach(run, stage, module.plan)
        set_training_mode(run.recogniser, stage.freeze)
        optimiser = module.configure_optimizers()
        rates: list[float] = []
        losses: list[float] = []
        average = 0.0
        for step, batch in zip(range(steps), _batches(module), strict=False):
            rate = _LOWEST * (_HIGHEST / _LOWEST) ** (step / max(steps - 1, 1))
            for group in optimiser.param_groups:
                group["lr"] = rate * group["scale"]
            loss = module.loss_of(batch)
            average = _SMOOTHING * average + (1 - _SMOOTHING) * float(loss.detach())
            smoothed = average / (1 - _SMOOTHING ** (step + 1))
            if not math.isfinite(smoothed) or smoothed > _FLOWN * min(losses, default=math.inf):
                break
            rates.append(rate)
            losses.append(smoothed)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    if len(rates) < 2:
        raise TrainingError("loss_not_finite", "the loss is not finite at any rate: look at the clips first")
    return RateCurve(rates, losses)


def draw_rates(curve: RateCurve, path: str | Path) -> None:
    """The curve as a picture (PNG). Raises DataError `output_unwritable`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses)
    axes.axvline(curve.suggestion, linestyle="--", label=f"falls fastest at {curve.suggestion:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss, smoothed")
    axes.legend()
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_whole(Path(path), buffer.getvalue())


def _batches(module: StageModule) -> Iterator[Batch]:
    """Batches without end, epoch after epoch."""
    epoch = 0
    while True:
        yield from make_loader(module.plan.builder(), module.plan.batches(epoch))
        epoch += 1
