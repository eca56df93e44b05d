"""One error family. Every error a user can meet has a stable code and a message with its remedy.

The code is for programs (HTTP answers, quarantine reports); the message is for people and names the
value, what was expected and what to do. `CODES` is the exhaustive list: raising a code that is not in it
is a bug, and a test reaches every one of them.
"""

from __future__ import annotations

CODES: dict[str, str] = {
    # media
    "media_not_found": "the file does not exist",
    "media_unreadable": "the file exists but cannot be opened",
    "media_too_large": "more bytes than may be held in memory",
    "audio_empty": "the file or stream holds no bytes, or no audio frames",
    "audio_unknown_format": "the bytes are not a known audio container",
    "audio_corrupt": "a known container whose audio cannot be decoded",
    "audio_truncated": "the header promises more audio than the file holds",
    "audio_too_short": "less audio than the model's shortest input",
    "audio_too_long": "more decoded seconds than the stated limit",
    "audio_silent": "every sample is (digitally) silent",
    "audio_not_finite": "the audio contains NaN or infinite samples",
    "audio_rate_unsupported": "the sample rate is outside 8 to 192 kHz",
    "audio_channels_unsupported": "more than 8 channels, or none",
    "image_empty": "the file holds no bytes",
    "image_unknown_format": "the bytes are not a JPEG, PNG or WebP",
    "image_corrupt": "a known format whose pixels cannot be decoded",
    "image_too_large": "more pixels than the stated limit",
    "video_unsupported": "the container needs the [video] extra",
    "video_corrupt": "a video whose pictures cannot be decoded",
    "video_without_pictures": "a video container that holds only sound",
    "video_too_long": "a longer video, or more pictures, than the stated limit",
    "decoder_crashed": "the decoding worker died on this file",
    "decoder_timeout": "the decoding worker took longer than its limit",
    "decoder_unavailable": "the decoding worker could not start",
    # text and labels
    "text_empty": "the text holds no characters to read",
    "text_too_long": "more characters than the stated limit",
    "label_unknown": "a label that the label contract does not know",
    "task_unknown": "a task that the model does not have",
    # data
    "manifest_not_found": "the manifest does not exist",
    "manifest_invalid": "the manifest cannot be read as CSV, JSONL or Parquet",
    "manifest_column_missing": "a column that is required is not there",
    "manifest_row_invalid": "a row whose values cannot be understood",
    "clip_duplicate": "two clips share one id",
    "corpus_unknown": "no reader has this name",
    "corpus_layout": "the folder does not have the corpus's published layout",
    "corpus_unreadable": "more than a tenth of the clips cannot be decoded",
    "features_invalid": "precomputed features that cannot be read, or are not those that a model takes",
    "predictions_invalid": "stored answers of an evaluation that cannot be read",
    "split_leak": "a speaker stands in more than one split",
    "split_impossible": "too few speakers for the split asked for",
    "words_not_found": "the file of words and times does not exist",
    "words_invalid": "the file is of no known format of words and times",
    "nothing_to_predict": "no input was given, or none could be read",
    "speaker_invalid": "a file that is not what enrolment wrote",
    "speaker_other_model": "a speaker who was enrolled with another model",
    # search
    "index_not_found": "the folder is not an index of clips",
    "index_invalid": "an index whose files are damaged or of another format",
    "index_of_another_bundle": "an index made with another bundle than the one given",
    # bundles and settings
    "bundle_not_found": "the folder or zip is not a bundle",
    "bundle_invalid": "bundle.json cannot be understood",
    "bundle_tampered": "a file's sha256 differs from the one in bundle.json",
    "no_shared_space": "the bundle has no towers, so its media have no place in one space",
    "config_unknown_key": "a setting that does not exist",
    "config_invalid": "a setting whose value is of the wrong type or out of range",
    "backbone_unavailable": "the files of a pretrained backbone are not there, and cannot be fetched",
    "experiment_unknown": "no experiment has this name",
    "run_exists": "the run folder already holds another run",
    "checkpoint_corrupt": "a checkpoint that cannot be read",
    "adapter_silent": "an adapter that gets no gradient, and so would never learn",
    "loss_not_finite": "training met a NaN or infinite loss",
    "parity_failed": "an exported part differs from the model it was made from",
    "extra_missing": "the feature needs an optional dependency",
    "server_unreachable": "a server of affetto that does not answer, or broke off",
    "server_refused": "a server's error whose code this version does not know",
    "option_invalid": "a command-line value that cannot be understood",
    "output_unwritable": "the output cannot be written",
    # serving: requests
    "header_invalid": "a request that is not HTTP, or whose headers cannot be understood",
    "header_too_large": "more bytes of headers than the stated limit",
    "request_timeout": "headers or a body that come too slowly",
    "body_too_large": "more bytes of body than the stated limit",
    "body_invalid": "a body that is not what its media type says",
    "json_invalid": "a body that is not JSON, or JSON with NaN, too deep, or with a name twice",
    "encoding_unsupported": "a body or part that is compressed or transfer-encoded",
    "media_type_unsupported": "a body of a media type that the route does not take",
    "parts_too_many": "more parts in a form than the stated limit",
    "field_unknown": "a field or parameter that the route does not have",
    "field_twice": "a field or parameter that was given twice",
    "value_invalid": "a field or parameter whose value cannot be understood",
    "tensor_invalid": "a tensor of the Open Inference Protocol that cannot be understood",
    "route_unknown": "no route has this path",
    "method_unsupported": "the route does not have this method",
    "model_unknown": "no model, or no version of it, has this name",
    "key_missing": "the route wants a key and none was given",
    "key_wrong": "no key of the server is the one given",
    "host_refused": "a Host or Origin that is not this machine's, where only this machine is served",
    # serving: load and faults
    "queue_full": "more work is waiting than can be done in time",
    "connections_full": "more connections or bytes of uploads than the stated limit",
    "deadline_exceeded": "no answer was possible in the time given",
    "not_ready": "no worker is ready",
    "shutting_down": "the server is about to end",
    "worker_died": "the model worker died or hung on this request",
    "client_gone": "the client left before its answer (never seen by clients)",
    "stream_invalid": "a message of a stream that cannot be understood",
    "stream_too_long": "a stream, or a message of it, longer than the stated limit",
    "stream_idle": "a stream in which nothing came for too long",
    "streams_full": "more streams than the stated limit",
    # serving: starting
    "purpose_undeclared": "the server was started without saying what for",
    "purpose_refused": "a use that is prohibited or that the authors refuse to support",
    "bind_refused": "a bind to the network without a key",
    "bind_failed": "the address or port cannot be bound",
    "keys_invalid": "a file of keys that cannot be used",
    "internal": "a fault of affetto itself",
}


class AffettoError(Exception):
    """An error with a stable `code`; `str(error)` is one line that a user can act on."""

    def __init__(self, code: str, message: str) -> None:
        if code not in CODES:
            raise KeyError(f"error code {code!r} is not declared in affetto.errors.CODES")
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[AffettoError], tuple[str, str]]:
        # The decoding worker sends errors through a pipe.
        return type(self), (self.code, str(self))


class MediaError(AffettoError):
    """A file, stream, image or text that cannot be used."""


class DataError(AffettoError):
    """A manifest, corpus, label or split that cannot be used."""


class BundleError(AffettoError):
    """A bundle that cannot be opened, verified or written."""


class ConfigError(AffettoError):
    """A setting, option or missing extra."""


class ServingError(AffettoError):
    """A request that cannot be served, or a server that cannot start."""


class TrainingError(AffettoError):
    """A run that cannot go on."""
