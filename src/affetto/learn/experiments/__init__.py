"""Named experiments: each a function that returns one complete config, headed by what it needs and gives."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from affetto.errors import ConfigError
from affetto.learn.config import ExperimentConfig

EXPERIMENTS = {
    "default": "affetto.learn.experiments.default:default",
    "mosi": "affetto.learn.experiments.mosi:mosi",
    "digits": "affetto.learn.experiments.digits:digits",
    "speech": "affetto.learn.experiments.default:speech",
    "speech_scratch": "affetto.learn.experiments.default:speech_scratch",
    "distil_text": "affetto.learn.experiments.default:distil_text",
    "text_lora": "affetto.learn.experiments.text:text_lora",
    "tiny": "affetto.learn.experiments.tiny:tiny",
}


def named_experiment(name: str) -> ExperimentConfig:
    """The experiment of that name. Raises ConfigError `experiment_unknown`, with the nearest known name."""
    if name not in EXPERIMENTS:
        nearest = get_close_matches(name, EXPERIMENTS, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(EXPERIMENTS)}"
        raise ConfigError("experiment_unknown", f"no experiment {name!r}: {hint}; a YAML file works as well")
    module, _, function = EXPERIMENTS[name].partition(":")
    return getattr(import_module(module), function)()
