"""Logits to answers: calibrated probabilities, what each view said, and the decision or an abstention."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from affetto.bundle import Bundle, BundleInfo, Calibration, TaskInfo, subset_key
from affetto.enrolment import Speaker
from affetto.predictor.parts import Outputs
from affetto.records import MODALITIES, Verdict

EMOTION = "emotion"
LANGUAGE = "language"
SPEECH = "speech"
VOTE = "vote"
WEIGHTS = "weights"
_UNCALIBRATED = Calibration()


def emotion_task(info: BundleInfo) -> TaskInfo | None:
    """The task that is the answer's emotion, where a bundle has one."""
    task = info.task(EMOTION)
    return task if task is not None and task.kind == "single-label" else None


class Answers:
    """Reads the fusion's outputs for one bundle and precision, among the emotions that stay possible.

    `speaker` is whose speech it is, where that is known.
    """

    def __init__(
        self, bundle: Bundle, precision: str, labels: Sequence[str], speaker: Speaker | None = None
    ) -> None:
        if speaker is not None:
            speaker.check_model({"name": bundle.info.name, "sha256": bundle.sha256})
        self._shift = np.array([speaker.shift.get(name, 0.0) if speaker else 0.0 for name in labels])
        self._info = bundle.info
        self._calibrations = bundle.info.calibration.get(precision, {})
        self._task = emotion_task(bundle.info)
        self._kept = [self._task.labels.index(name) for name in labels] if self._task else []
        self.labels = tuple(labels)
        self.views = self._task.views if self._task else ()

    def calibrated(self, used: Collection[str]) -> bool:
        """Whether this subset of modalities has a calibration of its own."""
        return subset_key(used) in self._calibrations.get(EMOTION, {})

    def emotion(self, outputs: Outputs, used: Collection[str], refused: str | None = None) -> dict[str, Any]:
        """The fields of a Prediction that speak of emotion; `refused` is a reason not to answer, if any."""
        task = self._task
        if task is None:
            nothing: dict[str, Any] = {"emotion": None, "confidence": 0.0, "probabilities": {}}
            return {**nothing, "modalities": {}, "abstained": True, "reason": "no_emotion_in_model"}
        calibration = self._calibration(EMOTION, used)
        weights = outputs.get(f"{EMOTION}.{WEIGHTS}")

        def shares(view: str) -> dict[str, float]:
            logits = _scaled(outputs[f"{EMOTION}.{view}"], calibration, view)[self._kept]
            voice = float(view == SPEECH) if view in MODALITIES else _share(SPEECH, task.views, used, weights)
            return dict(zip(self.labels, _softmax(logits + voice * self._shift), strict=True))

        verdicts = {}
        for place, view in enumerate(task.views):
            if view in _heard(task, used):
                said = shares(view)
                weight = None if weights is None else float(weights[place])
                verdicts[view] = Verdict(max(said, key=said.__getitem__), said, weight)
        said = shares(VOTE)
        best = max(said, key=said.__getitem__)
        reason = refused or ("low_confidence" if said[best] < calibration.abstain_below else None)
        return {
            "emotion": None if reason else best,
            "confidence": said[best],
            "probabilities": said,
            "modalities": verdicts,
            "abstained": reason is not None,
            "reason": reason,
        }

    def tasks(self, outputs: Outputs, used: Collection[str]) -> dict[str, Any]:
        """Task to answer, for all but the emotion: a label, several labels or a value."""
        others = (task for task in self._info.tasks if task.name not in (EMOTION, LANGUAGE))
        return {
            task.name: _task_answer(task, outputs, self._calibration(task.name, used))
            for task in others
            if _heard(task, used)
        }

    def _calibration(self, task: str, used: Collection[str]) -> Calibration:
        return self._calibrations.get(task, {}).get(subset_key(used), _UNCALIBRATED)


def _share(modality: str, views: Sequence[str], used: Collection[str], weights: np.ndarray | None) -> float:
    """How much of an answer to the modalities used comes from one of them, 0 to 1."""
    if modality not in used:
        return 0.0
    if weights is None:
        return 1.0 / len(used)
    heard = {view: float(weights[place]) for place, view in enumerate(views) if view in used}
    return heard.get(modality, 0.0) / (sum(heard.values()) or 1.0)


def _heard(task: TaskInfo, used: Collection[str]) -> list[str]:
    """The views of a task that have something to say: those of modalities used, and those that mix them."""
    return [view for view in task.views if view in used or view not in MODALITIES]


def _scaled(logits: np.ndarray, calibration: Calibration, view: str) -> np.ndarray:
    """Logits [C] as a calibration wants them: by the vectors of the view, or where it has none its temperature."""
    vector = calibration.vectors.get(view)
    if vector is None:
        return logits / calibration.temperatures.get(view, 1.0)
    return logits * np.array(vector.scale) + np.array(vector.bias)


def _task_answer(task: TaskInfo, outputs: Mapping[str, np.ndarray], calibration: Calibration) -> Any:
    logits = outputs[f"{task.name}.{VOTE}"]
    if task.kind == "dimension":
        return {"value": float(np.ravel(logits)[0])}
    logits = _scaled(logits, calibration, VOTE)
    if task.kind == "multi-label":
        said = dict(zip(task.labels, (1 / (1 + np.exp(-logits))).tolist(), strict=True))
        thresholds = calibration.label_thresholds
        return {"labels": [n for n, p in said.items() if p >= thresholds.get(n, 0.5)], "probabilities": said}
    said = dict(zip(task.labels, _softmax(logits), strict=True))
    return {"label": max(said, key=said.__getitem__), "probabilities": said}


def _softmax(logits: np.ndarray) -> list[float]:
    powers = np.exp(logits - logits.max())
    return (powers / powers.sum()).tolist()
