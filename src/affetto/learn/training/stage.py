"""One stage under Lightning: a thin module from a batch to a loss, and a callback that keeps the books.

Lightning does the looping. All that a checkpoint has to know is in `StageState` and in the tensors; rates,
batches and random numbers are functions of the step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import lightning
import torch
from torch import Tensor

from affetto.errors import TrainingError
from affetto.learn import ranks
from affetto.learn.config import ContrastiveConfig, ExperimentConfig, StageConfig
from affetto.learn.models.build import backbones, build_reconstructor
from affetto.learn.models.recogniser import VOTE, Output, Recogniser
from affetto.learn.models.reconstructor import Reconstructor
from affetto.learn.training.checkpoint import best_path, read_checkpoint
from affetto.learn.training.contrast import contrastive, forward_in_chunks, invariance, towers_of
from affetto.learn.training.display import Display
from affetto.learn.training.distillation import Teacher, distilled
from affetto.learn.training.fsdp import load_optimizer, load_weights, whole
from affetto.learn.training.hints import HINT, HintHead
from affetto.learn.training.invariance import consistency, reconstruction, take_part
from affetto.learn.training.loaders import make_loader, move
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.mixing import mix_tracks, mixup
from affetto.learn.training.objectives import task_losses, trained_views
from affetto.learn.training.optimisation import (
    AveragedWeights,
    clip_gradient,
    learning_rate,
    parameter_groups,
    set_training_mode,
)
from affetto.learn.training.planning import StagePlan
from affetto.learn.training.pretraining import masked_objective
from affetto.learn.training.randomness import torch_seed
from affetto.learn.training.run_folder import RunFolder
from affetto.learn.training.shards import of_all_ranks, own_rows, targets_of_all_ranks
from affetto.learn.training.stop import StopSignals
from affetto.learn.training.task_weights import TASK_WEIGHTS, TaskWeights
from affetto.learn.training.validation import decisive_score, predict_logits, scores
from affetto.records import Batch, Clip, Track

_SHOWN_IDS = 8
_CURVE_SECONDS = 30.0  # drawing takes as long as many steps of a small model


@dataclass
class Run:
    """What the stages of a run share. `history` has every validation so far; `teachers` by their path."""

    config: ExperimentConfig
    clips: Sequence[Clip]
    folder: RunFolder
    recogniser: Recogniser
    cache: MediaCache
    display: Display
    checkpoint_every: float  # seconds
    history: list[dict[str, Any]]
    teachers: Mapping[str, Teacher]


@dataclass
class StageState:
    """Where a stage stands: steps done, the best score and validations since, the loss since the last one."""

    step: int = 0
    best: float | None = None
    stale: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0


@dataclass(frozen=True)
class _Said:
    """The answers to a batch and its targets, mixed as its Tracks were; of this rank's rows the Tracks and the
    views' vectors, which all tasks share."""

    output: Output
    targets: Mapping[str, Tensor]
    tracks: Mapping[str, Track]
    shared: Sequence[Tensor]


class StageModule(lightning.LightningModule):
    """A recogniser and the objective of one stage. Every step seeds torch by (seed, stage, step)."""

    def __init__(self, run: Run, stage: StageConfig, state: StageState) -> None:
        super().__init__()
        self.recogniser = run.recogniser
        self.config, self.stage, self.state = run.config, stage, state
        self.plan = StagePlan(run.config, stage, run.clips, run.cache)
        self.averaged: AveragedWeights | None = None
        self.masked = (
            masked_objective(run.recogniser, stage, run.cache) if stage.objective == "masked" else None
        )
        self._heard_from = False
        self.task_weights: TaskWeights = TASK_WEIGHTS[stage.task_weights](self.plan.tasks)
        self.reconstructor: Reconstructor | None = None
        if stage.reconstruction:
            torch.manual_seed(torch_seed(run.config.seed, stage.name, "reconstructor"))
            self.reconstructor = build_reconstructor(run.config.model, run.recogniser, stage.modalities)
        self.hint: HintHead | None = None
        if stage.hint is not None:
            torch.manual_seed(torch_seed(run.config.seed, stage.name, "hint"))
            self.hint = HintHead(run.config.model.dim, stage.hint.weight)
        self._class_weights = {
            name: torch.from_numpy(weights) for name, weights in self.plan.class_weights().items()
        }

    @property
    def auxiliary(self) -> torch.nn.ModuleDict:
        """What learns beside the recogniser and ends with the stage."""
        parts = {
            "task_weights": self.task_weights,
            "reconstructor": self.reconstructor,
            "masked": self.masked,
            "hint": self.hint,
        }
        return torch.nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    @property
    def alone(self) -> bool:
        """Whether nothing that merges modalities is asked in this stage."""
        stage = self.stage
        merges = not {*self.views} <= {*stage.modalities} or stage.contrastive or stage.consistency
        return self.recogniser.answers_alone and not (merges or stage.reconstruction)

    @property
    def views(self) -> list[str]:
        """The views, and the vote, that the stage trains."""
        tasks = self.config.model.tasks
        views = dict.fromkeys(view for task in tasks for view in self.recogniser.views_of(task.name))
        return trained_views([*views, VOTE], self.stage.modalities, self.config.model.modalities)

    def train_dataloader(self) -> Any:
        """What is left of the epoch that the next step belongs to."""
        epoch, done = divmod(self.state.step, self.plan.steps_per_epoch)
        return make_loader(self.plan.builder(), self.plan.batches(epoch)[done:], self.config.train.workers)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches are frozen, so Lightning cannot move them by itself."""
        return move(batch, device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW (Loshchilov and Hutter 2019)."""
        stage = self.stage
        groups = parameter_groups(
            self.recogniser,
            stage.weight_decay,
            backbone_rate=stage.backbone_rate,
            layer_decay=stage.layer_decay,
        )
        groups.append({"params": list(self.auxiliary.parameters()), "weight_decay": 0.0, "scale": 1.0})
        return torch.optim.AdamW(groups, lr=stage.lr)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch. Raises TrainingError `loss_not_finite`, naming its clips, before the step."""
        stage, step = self.stage, self.state.step
        set_training_mode(self.recogniser, stage.freeze)
        torch.manual_seed(torch_seed(self.config.seed, stage.name, "step", step))
        for group in self.trainer.optimizers[0].param_groups:
            rate = learning_rate(step, self.plan.total_steps, stage.lr, stage.warmup, stage.schedule)
            group["lr"] = rate * group["scale"]
        self.recogniser.set_progress(step / self.plan.total_steps)
        loss = self.loss_of(batch)
        self._refuse_not_finite("loss", loss, batch.ids)
        self._ids = batch.ids
        return loss

    def loss_of(self, batch: Batch) -> Tensor:
        """What the stage's objective says of a batch."""
        stage = self.stage
        batch = mixup(batch, stage.mixup)
        own = own_rows(batch)
        if ranks.rank():  # rank 0 draws on: rows of different ranks are not to meet the same noise
            torch.manual_seed(torch_seed(self.config.seed, stage.name, "rank", ranks.rank(), self.state.step))
        if not self._heard_from:
            self._present = [name for name, track in own.inputs.items() if bool(track.mask.any())]
        if self.masked is not None:
            return self.masked(self.recogniser, own)
        said = self._ask(own, len(batch.ids))
        output, batch = said.output, replace(batch, targets=said.targets)
        losses = task_losses(
            output,
            batch,
            self.config.model.tasks,
            modalities=stage.modalities,
            all_modalities=self.config.model.modalities,
            smoothing=stage.label_smoothing,
            class_weights=self._class_weights,
        )
        loss = self.task_weights(losses, said.shared) + self.recogniser.penalty()
        if stage.consistency or stage.reconstruction:
            loss = loss + self._invariance(said.tracks, output, len(batch.ids))
        if stage.contrastive is not None:
            loss = loss + self._contrast(stage.contrastive, batch, output, own)
        if stage.distil is not None:
            share = stage.distil.weight
            loss = (1.0 - share) * loss + share * distilled(output, batch, self.views, stage.distil)
        if self.hint is not None and "speech" in said.tracks:
            loss = loss + self.hint(said.tracks["speech"], own.targets[HINT])
        return loss

    def on_after_backward(self) -> None:
        """Raises TrainingError `adapter_silent` when an adapter got no gradient in the stage's first step."""
        if self._heard_from:
            return
        self._heard_from = True
        for name, backbone in backbones(self.recogniser).items():
            silent = backbone.silent() if name in self._present else []
            if silent:
                raise TrainingError(
                    "adapter_silent",
                    f"the adapter in {name}.{silent[0]} gets no gradient and would never learn: name other "
                    "lora.targets, or report the backbone",
                )

    def _ask(self, own: Batch, rows: int) -> _Said:
        """What the ranks say of a batch of so many rows, of which this one has its own."""
        settings = self.stage.contrastive
        tracks: Mapping[str, Track] = {}
        if settings is not None and settings.chunk is not None:
            # In chunks no Track of the whole batch is ever there.
            output, targets = forward_in_chunks(self.recogniser, own.inputs, settings.chunk), own.targets
        else:
            tracks, targets = mix_tracks(self.recogniser.encode(own.inputs), own, self.stage.track_mixup)
            output = self.recogniser.fuse(tracks, alone=self.alone)
        # Hints stay where the Tracks are that are to tell them.
        targets = {name: values for name, values in targets.items() if name != HINT}
        shared = list(output.embeddings.values())
        return _Said(of_all_ranks(output, rows), targets_of_all_ranks(targets, rows), tracks, shared)

    def _contrast(self, settings: ContrastiveConfig, batch: Batch, output: Output, own: Batch) -> Tensor:
        """What the towers cost."""
        towers, modalities = towers_of(self.recogniser), self.stage.modalities
        task = self.config.model.tasks[0].name
        loss = contrastive(
            output, batch, settings, towers, task=task, modalities=modalities, step=self.state.step
        )
        if settings.invariance:
            again = self._ask(own, len(batch.ids))
            loss = loss + settings.invariance * invariance(output, again.output, towers, modalities)
        return loss

    def _invariance(self, tracks: Mapping[str, Track], whole: Output, rows: int) -> Tensor:
        """What the same batch costs with a part of its modalities: encoded once, fused again."""
        part = of_all_ranks(self.recogniser.fuse(take_part(tracks)), rows)
        loss = self.stage.consistency * consistency(whole, part, self.plan.tasks)
        if self.reconstructor is not None:
            loss = loss + self.stage.reconstruction * reconstruction(whole, part, self.reconstructor)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient. Raises TrainingError `loss_not_finite` when it is not finite."""
        limit = self.stage.clip_norm or math.inf
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = clip_gradient(trained, limit)
        self._refuse_not_finite("gradient", norm, self._ids)

    def _refuse_not_finite(self, what: str, value: Tensor, ids: Sequence[str]) -> None:
        if not math.isfinite(value.item()):
            more = f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
            raise TrainingError(
                "loss_not_finite",
                f"stage {self.stage.name}, step {self.state.step}: the {what} is {value.item()} for the "
                f"clips {', '.join(ids[:_SHOWN_IDS])}{more}; look at these clips, or lower the stage's lr",
            )


class Bookkeeping(lightning.Callback):
    """After each step: averaged weights, validation, checkpoint, and whether to go on."""

    def __init__(self, run: Run, index: int, restored: Mapping[str, Any] | None, stop: StopSignals) -> None:
        self._run, self._index, self._restored, self._stop = run, index, restored, stop
        self._saved_at = self._drawn_at = time.monotonic()
        self.interrupted = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Weights are on their device and the optimiser exists: take up what the checkpoint has of both."""
        self._stop.take()  # Lightning has put a handler of its own in the way by now
        module: StageModule = pl_module
        if module.stage.ema is not None:
            module.averaged = AveragedWeights(module.recogniser, module.stage.ema)
        if self._restored is not None:
            load_optimizer(trainer.optimizers[0], self._restored["optimizer"])
            module.auxiliary.load_state_dict(self._restored["auxiliary"])
            if module.averaged is not None:
                module.averaged.load(self._restored["averaged"])

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done: everything after it is decided by its number alone, except when to save."""
        module: StageModule = pl_module
        state, plan, stage = module.state, module.plan, module.stage
        state.step += 1
        loss = float(outputs["loss"]) * stage.accumulate  # Lightning has shared it out
        state.loss_sum += loss
        state.loss_count += 1
        moved = state.step % plan.steps_per_epoch % stage.accumulate == 0
        if module.averaged is not None and moved:
            module.averaged.update(module.recogniser)
        self._run.display.step(state.step, loss)
        every = stage.validate_every or plan.steps_per_epoch
        finished = state.step >= plan.total_steps
        if state.step % every == 0 or finished:
            self._validate(module)
            finished = finished or (stage.patience is not None and state.stale >= stage.patience)
        if finished:
            trainer.should_stop = True
            return
        # Gradients that wait for more batches are not saved: only a step that moved the weights can be.
        if not moved:
            return
        due = time.monotonic() - self._saved_at >= self._run.checkpoint_every
        self.interrupted, due = ranks.any_of(self._stop.asked, due)
        if self.interrupted or due:
            self._save(trainer, module)
        if self.interrupted:
            trainer.should_stop = True

    def _validate(self, module: StageModule) -> None:
        run, state, stage = self._run, module.state, module.stage
        with module.averaged.applied(module.recogniser) if module.averaged else nullcontext():
            found = self._scores(module)
            score = decisive_score(found, module.config.model.tasks, module.views)
            if stage.patience is not None and score is not None:
                if state.best is None or score > state.best:
                    state.best, state.stale = score, 0
                    weights = whole(module.recogniser.state_dict(), keep=run.folder.writes)
                    run.folder.save_best(
                        stage.name, {"step": state.step, "score": score, "recogniser": weights}
                    )
                else:
                    state.stale += 1
        record = {
            "stage": stage.name,
            "step": state.step,
            "epoch": state.step / module.plan.steps_per_epoch,
            "loss": state.loss_sum / state.loss_count,
            "score": score,
            "scores": found,
            "task_weights": module.task_weights.shares(),
        }
        state.loss_sum, state.loss_count = 0.0, 0
        run.history.append(record)
        run.folder.write_metrics(run.history)
        run.display.validated(record)
        if time.monotonic() - self._drawn_at >= _CURVE_SECONDS:
            run.folder.write_curves(run.history)
            self._drawn_at = time.monotonic()

    def _scores(self, module: StageModule) -> dict[str, float]:
        """Of the views that the stage trains; {} without validation clips."""
        clips, cache, config = module.plan.validation, self._run.cache, module.config
        if not clips or module.masked is not None:
            return {}
        logits = predict_logits(
            module.recogniser, clips, cache, workers=config.train.workers, alone=module.alone
        )
        found = scores(logits, clips, config.model.tasks)
        return {name: value for name, value in found.items() if name.split(".")[-2] in module.views}

    def _save(self, trainer: lightning.Trainer, module: StageModule) -> None:
        state = {
            "stage": self._index,
            "state": asdict(module.state),
            "recogniser": module.recogniser.state_dict(),
            "auxiliary": module.auxiliary.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "averaged": module.averaged.state() if module.averaged else None,
            "history": self._run.history,
        }
        folder = self._run.folder
        folder.save_last(whole(state, keep=folder.writes))
        self._saved_at = time.monotonic()


def finish(module: StageModule, run: Run) -> None:
    """Leave the recogniser with the stage's result: its best weights where it has patience, else the averaged
    ones, else the last. Raises TrainingError `checkpoint_corrupt`."""
    if module.state.best is not None:
        ranks.wait()  # for the one that writes it
        best = read_checkpoint(best_path(run.folder.checkpoints, module.stage.name))
        load_weights(module.recogniser, best["recogniser"])
    elif module.averaged is not None:
        module.averaged.copy_to(module.recogniser)
