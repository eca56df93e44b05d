"""A bundle and any subset of speech, text and face in; a Prediction out. Everything that answers uses this.

Each modality's part turns its medium into a Track; the fusion part merges the Tracks, an absent one being a
single step whose mask is False. Only the parts that a call needs are loaded and run.

    parts      the ONNX parts: media to Tracks, Tracks to logits
    evidence   which text and which faces stand beside a stretch of speech
    voice      whether what the speech part heard was one
    stream     the Session: windows and steps of a recording that comes in pieces
    answers    logits to calibrated probabilities, verdicts and abstentions
    predict    the Predictor: whole items, files and clips
    space      media to places in the one space of a bundle with towers
    zero_shot  classes that were never trained, asked for by their names
"""

from affetto.predictor.answers import EMOTION
from affetto.predictor.parts import open_session
from affetto.predictor.predict import Predictor, load
from affetto.predictor.stream import Session
from affetto.predictor.voice import frame_statistics
from affetto.predictor.zero_shot import ZeroShot

__all__ = ["EMOTION", "Predictor", "Session", "ZeroShot", "frame_statistics", "load", "open_session"]
