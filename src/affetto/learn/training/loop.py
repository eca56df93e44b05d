"""`fit`: the stages of an experiment, one after another, in one run folder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy
from tokenizers import Tokenizer
from torch import Tensor

from affetto.data.audit import check_leaks
from affetto.errors import AffettoError, ConfigError
from affetto.features.text import load_tokenizer, train_tokenizer
from affetto.learn import ranks
from affetto.learn.config import ExperimentConfig, HintConfig, ModelConfig, StageConfig, TrainConfig
from affetto.learn.models.build import (
    Forms,
    add_adapters,
    backbones,
    build_recogniser,
    learn_corrections,
    pretrained_tokenizer,
    write_corrections,
)
from affetto.learn.models.recogniser import Recogniser
from affetto.learn.training.checkpoint import restore_last
from affetto.learn.training.display import Display
from affetto.learn.training.distillation import Answers, Teacher, ask
from affetto.learn.training.fsdp import in_shares, leave_out_shares
from affetto.learn.training.hints import Hints, listen
from affetto.learn.training.media_cache import ClipKey, MediaCache
from affetto.learn.training.optimisation import freeze
from affetto.learn.training.planning import StagePlan
from affetto.learn.training.processes import accelerator, joined, on_this_machine, started
from affetto.learn.training.randomness import torch_seed
from affetto.learn.training.run_folder import RunFolder, open_run
from affetto.learn.training.stage import Bookkeeping, Run, StageModule, StageState, finish
from affetto.learn.training.stop import StopSignals
from affetto.learn.training.targets import with_people
from affetto.learn.training.validation import predict_logits, scores, weigh_votes, write_logits
from affetto.learn.training.vocabulary import vocabulary
from affetto.records import Clip

CHECKPOINT_SECONDS = 60.0
#: What Lightning calls them.
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


@dataclass(frozen=True)
class Start:
    """What a run begins with instead of fresh weights: those of another model, its tokenizer, and the forms of its
    pretrained backbones, by part, whose own files are then not needed."""

    weights: Mapping[str, Tensor]
    tokenizer: bytes | None = None
    forms: Forms = field(default_factory=dict)


@dataclass(frozen=True)
class FitResult:
    """What a run leaves behind.

    scores: `task.view.metric` to value on the validation clips as they are (nothing composed), by the final
    weights. history: every validation of every stage. unreadable: the clips left out, by (corpus, id).
    """

    recogniser: Recogniser
    config: ExperimentConfig
    tokenizer: Tokenizer | None
    cache: MediaCache
    scores: Mapping[str, float]
    history: Sequence[Mapping[str, Any]]
    unreadable: Mapping[ClipKey, AffettoError]
    run_folder: Path


def fit(
    config: ExperimentConfig,
    clips: Sequence[Clip],
    run_folder: str | Path,
    *,
    resume: bool = False,
    start: Start | None = None,
    teachers: Mapping[str, Teacher] | None = None,
    cache: MediaCache | None = None,
    display: Display | None = None,
    checkpoint_every: float = CHECKPOINT_SECONDS,
) -> FitResult:
    """Train the experiment's model on the clips of the split "train" (or of none), watched on "validation".

    Clips of other splits are not touched. A run that stopped goes on with `resume`, bit for bit as if it had
    not; a finished one gives its result again. `teachers` are the models behind the paths that stages name in
    `distil.teacher`. `cache` shares decoded media between runs of one tokenizer.
    Ctrl-C and SIGTERM save after the current step and raise KeyboardInterrupt.

    Raises DataError `split_leak` (naming the people), `corpus_unreadable`, `nothing_to_predict`,
    `label_unknown`, `output_unwritable`; TrainingError `run_exists`, `loss_not_finite`, `checkpoint_corrupt`;
    ConfigError `config_invalid`.
    """
    leaks = check_leaks(clips, allowed=config.data.allow_leaks)
    used = [clip for clip in clips if clip.split in (None, "train", "validation")]
    tasks = with_people(config.model.tasks, (clip for clip in used if clip.split != "validation"))
    devices = started() if started() > 1 else config.train.devices
    config = replace(
        config,
        model=replace(config.model, tasks=tasks),
        train=replace(config.train, devices=devices),
    )
    check_runnable(config)
    display = display or Display()
    for leak in leaks:
        display.note(f"allowed: {leak.message}")
    with (
        joined(config.train.devices),
        open_run(run_folder, config, resume=resume) as folder,
        torch.random.fork_rng(),
    ):
        run, unreadable = begin(
            config, clips, folder, start=start, teachers=teachers, cache=cache, display=display
        )
        run.checkpoint_every = checkpoint_every
        _run_stages(run)
        result = _result(run, unreadable)
        ranks.wait()
        return result


def begin(
    config: ExperimentConfig,
    clips: Sequence[Clip],
    folder: RunFolder,
    *,
    start: Start | None = None,
    teachers: Mapping[str, Teacher] | None = None,
    cache: MediaCache | None = None,
    display: Display,
) -> tuple[Run, dict[ClipKey, AffettoError]]:
    """A run before its first step: media decoded, the model built. Returns it and the clips that were left out.

    Raises what `fit` raises of media and settings.
    """
    used = [clip for clip in clips if clip.split in (None, "train", "validation")]
    with ranks.first_alone():
        cache = cache or MediaCache(config.model, _tokenizer(config.model, used, folder, start))
        if cache.tokenizer is not None:
            folder.write_tokenizer(cache.tokenizer.to_str())
    unreadable = cache.add(used, lambda items: display.wrap(items, "reading clips"))
    folder.write_unreadable(unreadable)
    if unreadable:
        display.note(f"{len(unreadable)} of {len(used)} clips left out: see {folder.path / 'unreadable.csv'}")
    used = [clip for clip in used if (clip.corpus, clip.id) not in unreadable]
    recogniser = _build(config, cache, folder, start)
    run = Run(
        config,
        used,
        folder,
        recogniser,
        cache,
        display,
        CHECKPOINT_SECONDS,
        history=[],
        teachers=teachers or {},
    )
    return run, unreadable


def _run_stages(run: Run) -> None:
    saved = restore_last(run.folder.checkpoints) or {"stage": 0, "state": None, "history": []}
    if "recogniser" in saved:
        run.recogniser.load_state_dict(saved["recogniser"])
    run.history.extend(saved["history"])
    run.folder.write_metrics(run.history)
    with StopSignals() as stop:
        for index, stage in enumerate(run.config.train.stages):
            if index < saved["stage"]:
                continue
            _run_stage(run, index, stage, saved if index == saved["stage"] and saved["state"] else None, stop)
            weights = run.recogniser.state_dict()
            run.folder.save_last(
                {"stage": index + 1, "state": None, "recogniser": weights, "history": run.history},
            )
            if any(ranks.any_of(stop.asked)):
                _stop(run, f"stopped and saved after {stage.name}")
    run.folder.write_curves(run.history)


def _stop(run: Run, what: str) -> NoReturn:
    run.display.note(f"{what}; --resume goes on")
    raise KeyboardInterrupt


def _run_stage(
    run: Run, index: int, stage: StageConfig, restored: Mapping[str, Any] | None, stop: StopSignals
) -> None:
    """Train one stage to its end, or raise KeyboardInterrupt after having saved."""
    freeze(run.recogniser, stage.freeze)
    with in_shares(run.recogniser) if run.config.train.sharding == "full" else nullcontext():
        module = StageModule(run, stage, StageState(**restored["state"]) if restored else StageState())
        leave_out_shares(module)
        teach(run, stage, module.plan)
        run.display.stage(stage.name, module.plan.total_steps, module.state.step)
        with _quiet_lightning():
            books = Bookkeeping(run, index, restored, stop)
            try:
                _trainer(run.config.train, stage, books).fit(module)
            finally:
                run.display.end()
        if books.interrupted:
            _stop(run, f"stopped and saved after step {module.state.step} of {stage.name}")
        finish(module, run)


def _trainer(config: TrainConfig, stage: StageConfig, books: Bookkeeping) -> lightning.Trainer:
    """Lightning's loop, on one device or as one of several ranks."""
    # Heads of views that a batch does not have get no gradient, and in another batch they do.
    many = DDPStrategy(find_unused_parameters=True) if ranks.count() > 1 else "auto"
    return lightning.Trainer(
        accelerator=accelerator(config.devices),
        strategy=many,
        devices=on_this_machine(),
        num_nodes=ranks.count() // on_this_machine(),
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        accumulate_grad_batches=stage.accumulate,
        precision=_PRECISIONS[config.precision],  # type: ignore[arg-type]
        callbacks=[books],
        barebones=True,
    )


def teach(run: Run, stage: StageConfig, plan: StagePlan) -> None:
    """Let the stage's batches carry what its teacher and its published network say of the clips."""
    if stage.distil is not None:
        plan.teach(_answers(run, stage, plan.training))
    if stage.hint is not None:
        plan.teach(_hints(run, stage, stage.hint, plan.training))


def _answers(run: Run, stage: StageConfig, clips: Sequence[Clip]) -> Answers:
    """What the stage's teacher says of the clips, asked once for a run."""
    assert stage.distil is not None
    teacher = run.teachers.get(stage.distil.teacher)
    if teacher is None:
        raise ConfigError(
            "config_invalid",
            f"stage {stage.name}: the teacher {stage.distil.teacher} was not handed to the run",
        )
    run.display.note(f"asking the teacher {stage.distil.teacher}")
    keep = run.folder.predictions / f"teacher-{stage.name}.npz"
    with ranks.first_alone():
        return ask(teacher, clips, run.config.model.tasks, stage.distil, keep)


def _hints(run: Run, stage: StageConfig, hint: HintConfig, clips: Sequence[Clip]) -> Hints:
    """What the stage's published network hears in the clips, once for a run."""
    keep = run.folder.predictions / f"hints-{stage.name}.npz"
    with ranks.first_alone():
        return listen(hint, clips, run.cache, keep, lambda items: run.display.wrap(items, "taking hints"))


def _result(run: Run, unreadable: Mapping[ClipKey, AffettoError]) -> FitResult:
    for name, backbone in backbones(run.recogniser).items():
        if backbone.adapted and run.folder.writes:
            backbone.save_adapter(run.folder.path / "adapters" / name)
    write_corrections(run.recogniser)
    run.recogniser.requires_grad_(True).eval()
    clips = [clip for clip in run.clips if clip.split == "validation" and clip.modalities()]
    clips = [clip for clip in clips if set(clip.modalities()) & set(run.config.model.modalities)]
    found: dict[str, float] = {}
    if clips:
        tasks = run.config.model.tasks
        logits = predict_logits(run.recogniser, clips, run.cache, workers=run.config.train.workers)
        found = scores(logits, clips, tasks)
        if weigh_votes(run.recogniser, found, tasks):
            logits = predict_logits(run.recogniser, clips, run.cache, workers=run.config.train.workers)
            found = scores(logits, clips, tasks)
        if run.folder.writes:
            write_logits(run.folder.predictions / "validation.npz", logits, clips, tasks)
    return FitResult(
        run.recogniser,
        run.config,
        run.cache.tokenizer,
        run.cache,
        found,
        run.history,
        unreadable,
        run.folder.path,
    )


def check_runnable(config: ExperimentConfig) -> None:
    """Raises ConfigError `config_invalid` for what a run would only find out on its way."""
    if not config.train.stages or not config.model.tasks:
        raise ConfigError("config_invalid", "a run needs at least one of train.stages and of model.tasks")
    for stage in config.train.stages:
        if stage.hint is not None and not Path(stage.hint.weights).is_file():
            raise ConfigError(
                "config_invalid",
                f"stage {stage.name}: hint.weights {stage.hint.weights} is not there: give it the file "
                "embedding_model.onnx of the package openwakeword 0.4.0, or set the stage's hint to null",
            )
    if config.train.sharding == "none":
        return
    if config.train.devices < 2:
        raise ConfigError(
            "config_invalid",
            "train.sharding full: one process has nobody to share with; set train.devices to 2 or more",
        )
    sections = (config.model.speech, config.model.text, config.model.vision, config.model.fusion)
    if not any(section is not None and section.backbone is not None for section in sections):
        raise ConfigError(
            "config_invalid",
            "train.sharding full shares out pretrained backbones, and the model has none; set it to none",
        )


def _tokenizer(
    model: ModelConfig, clips: Sequence[Clip], folder: RunFolder, start: Start | None
) -> Tokenizer | None:
    """The run's own, else the one it starts from, else the backbone's, else one made from the training texts."""
    if model.text is None:
        return None
    if folder.tokenizer.exists():
        return load_tokenizer(folder.tokenizer)
    if start is not None and start.tokenizer is not None:
        return load_tokenizer(start.tokenizer)
    pretrained = pretrained_tokenizer(model)
    if pretrained is not None:
        return load_tokenizer(pretrained)
    texts = [clip.text for clip in clips if clip.split != "validation" and "text" in clip.modalities()]
    return train_tokenizer([text for text in texts if text], model.text.vocab_size)


def _build(config: ExperimentConfig, cache: MediaCache, folder: RunFolder, start: Start | None) -> Recogniser:
    torch.manual_seed(torch_seed(config.seed, "weights"))
    tokens = vocabulary(cache.tokenizer, config.model.text.vocab_size) if config.model.text else None
    recogniser = build_recogniser(config.model, tokens=tokens, forms=_known_forms(config.model, start))
    forms = {name: backbone.form for name, backbone in backbones(recogniser).items()}
    folder.write_backbones(forms)
    if start is not None:
        _take_over(recogniser, start.weights)
    add_adapters(recogniser, config.model)
    if config.train.low_rank is not None:
        learn_corrections(recogniser, config.train.low_rank)
    return recogniser


def _known_forms(model: ModelConfig, start: Start | None) -> Forms | None:
    """The forms of those backbones that the run begins with: the config asks for the very same."""
    known = {} if start is None else start.forms
    asked = {name: getattr(getattr(model, name), "backbone", None) for name in known}
    same = {
        name: known[name]
        for name, asks in asked.items()
        if asks is not None and asks.path == known[name]["path"]
    }
    return same or None


def _take_over(recogniser: Recogniser, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights whose name and shape are the model's: a new task keeps its fresh head."""
    own = recogniser.state_dict()
    fitting = {
        name: value for name, value in weights.items() if name in own and value.shape == own[name].shape
    }
    if not fitting:
        raise ConfigError(
            "config_invalid",
            "train.start_from: no weight there fits this model; give it the same model section",
        )
    recogniser.load_state_dict(
        {name: value.to(own[name].dtype) for name, value in fitting.items()}, strict=False
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's own messages: what a person should know of a run, `Display` says."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        # Of answers that must not be changed in place: nothing here does.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
