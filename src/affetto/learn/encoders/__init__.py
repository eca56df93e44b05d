"""Encoders: the raw media of one modality in, a Track on the encoder's own clock out.

An encoder is an `nn.Module` with `out_dim` (D), `rate` (frames per second, None where steps are not times)
and `forward(Track) -> Track`. Its constructor takes D first and names the settings it needs, which are fields
of its modality's section in the config; what else it is made of is handed in second. A new one is a class and
a line here.
"""

SPEECH = {
    "cnn": "affetto.learn.encoders.speech:SpeechCnn",
    "crnn": "affetto.learn.encoders.speech:SpeechCrnn",
    "transformer": "affetto.learn.encoders.speech:SpeechTransformer",
    "speech_embedding": "affetto.learn.encoders.pretrained.speech_embedding:SpeechEmbedding",
    "pretrained": "affetto.learn.encoders.pretrained.speech:PretrainedSpeech",
}

TEXT = {
    "words": "affetto.learn.encoders.text:WordVectors",
    "cnn": "affetto.learn.encoders.text:TextCnn",
    "transformer": "affetto.learn.encoders.text:TextTransformer",
    "pretrained": "affetto.learn.encoders.pretrained.text:PretrainedText",
}

VISION = {
    "resnet": "affetto.learn.encoders.vision:ResNet",
    "vit": "affetto.learn.encoders.vision:VisionTransformer",
    "pretrained": "affetto.learn.encoders.pretrained.vision:PretrainedVision",
}

#: Of features that others have computed from any modality; such an encoder says in `in_dim` what it takes.
FEATURES = {
    "mlp": "affetto.learn.encoders.precomputed:FeatureMlp",
    "transformer": "affetto.learn.encoders.precomputed:FeatureTransformer",
}

ENCODERS = {"speech": SPEECH, "text": TEXT, "vision": VISION, "features": FEATURES}
