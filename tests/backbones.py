"""Tiny pretrained models with random weights, as a hub or a package would hold them: for tests alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "i",
    "am",
    "so",
    "happy",
    "sad",
    "angry",
    "today",
    "not",
)

#: Log-mel frames that the speech embedding sees, and their bands.
SPEECH_WINDOW, _BANDS = 76, 32
#: Its channels, and the pooling of time and mel after every second convolution.
_POOLS = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
_CHANNELS = (24, 24, 24, 48, 48, 48, 48, 72, 72, 72, 72, 96, 96, 96, 96, 96, 96, 96, 96, 96)

_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_WORDS = {**_SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 80}
_DECODER = {**_WORDS, "num_key_value_heads": 1}
_WAVES = {
    **_SMALL,
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 8, 8),
    "conv_stride": (5, 8, 8),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.0,
}
_PICTURE = {**_SMALL, "image_size": 32, "patch_size": 16}

#: Family to its modality, its class and the sizes of a tiny one.
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wav2vec2": ("speech", "Wav2Vec2", {**_WAVES, "feat_extract_norm": "group"}),
    "wav2vec2-layer": ("speech", "Wav2Vec2", {**_WAVES, "feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "hubert": ("speech", "Hubert", _WAVES),
    "wavlm": ("speech", "WavLM", {**_WAVES, "num_buckets": 8, "max_bucket_distance": 20}),
    "whisper": ("speech", "Whisper", {
        "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "vocab_size": 20,
        "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "num_mel_bins": 20,
        "max_source_positions": 100, "max_target_positions": 8, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "decoder_start_token_id": 1,
    }),
    "bert": ("text", "Bert", _WORDS),
    "roberta": ("text", "Roberta", {**_WORDS, "pad_token_id": 0}),
    "deberta-v2": ("text", "DebertaV2", {**_WORDS, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "gpt2": ("text", "GPT2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": len(WORDS), "n_positions": 80}),
    "llama": ("text", "Llama", _DECODER),
    "qwen2": ("text", "Qwen2", _DECODER),
    "resnet": ("vision", "ResNet", {
        "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic",
    }),
    "vit": ("vision", "ViT", _PICTURE),
    "clip": ("vision", "CLIPVision", {**_PICTURE, "projection_dim": 8}),
    "dinov2": ("vision", "Dinov2", _PICTURE),
    "videomae": ("vision", "VideoMAE", {**_PICTURE, "num_frames": 4, "tubelet_size": 2}),
}  # fmt: skip


def write_backbone(folder: Path, family: str) -> Path:
    """A repository of a family: config.json, model.safetensors and what its tokenizer or processor needs."""
    modality, name, sizes = FAMILIES[family]
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes))
    model.eval().save_pretrained(folder)
    if modality == "text":
        write_tokenizer(folder)
    elif family == "whisper":
        transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2).save_pretrained(folder)
    elif modality == "speech":
        transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    else:
        kind = transformers.ViTImageProcessorPil if hasattr(transformers, "ViTImageProcessorPil") else None
        (kind or transformers.ViTImageProcessor)(
            size={"height": 32, "width": 32}, image_mean=[0.5] * 3, image_std=[0.25] * 3
        ).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A tokenizer that knows `WORDS`."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)


def write_speech_network(path: Path) -> Path:
    """The published speech embedding in its form, with random weights: [N 76 32 1] to [N 1 1 96]."""
    rng = np.random.default_rng(0)
    nodes, tensors = [], []

    def tensor(name: str, values: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def convolution(i: int, x: str, before: int, kernel: tuple[int, int], padding: int, bias: bool) -> str:
        scale = (before * kernel[0] * kernel[1]) ** -0.5
        inputs = [x, tensor(f"weight{i}", scale * rng.standard_normal((_CHANNELS[i], before, *kernel)))]
        inputs += [tensor(f"bias{i}", 0.3 * rng.standard_normal(_CHANNELS[i]))] if bias else []
        nodes.append(helper.make_node("Conv", inputs, [f"conv{i}"], pads=[0, padding, 0, padding]))
        return f"conv{i}"

    def activation(x: str) -> str:
        nodes.append(helper.make_node("LeakyRelu", [x], [f"{x}_leaky"], alpha=0.2))
        nodes.append(helper.make_node("Max", [f"{x}_leaky", "least"], [f"{x}_active"]))
        return f"{x}_active"

    tensor("least", np.array(-0.4))
    nodes.append(helper.make_node("Transpose", ["input_1"], ["planes"], perm=[0, 3, 1, 2]))
    x = convolution(0, "planes", 1, (3, 3), 1, False)
    nodes.append(helper.make_node("Relu", [x], ["rectified"]))
    norm = [tensor(name, rng.uniform(0.5, 1.5, 24)) for name in ("weight", "bias", "mean", "variance")]
    nodes.append(helper.make_node("BatchNormalization", ["rectified", *norm], ["normed"], epsilon=1e-3))
    x = activation("normed")
    for i in range(1, 19):
        kernel, padding = ((1, 3), 1) if i % 2 else ((3, 1), 0)
        x = activation(convolution(i, x, _CHANNELS[i - 1], kernel, padding, True))
        if i in _POOLS:
            pool = _POOLS[i]
            nodes.append(helper.make_node("MaxPool", [x], [f"pool{i}"], kernel_shape=pool, strides=pool))
            x = f"pool{i}"
    x = convolution(19, x, 96, (3, 1), 0, False)
    graph = helper.make_graph(
        nodes, "embedding",
        [helper.make_tensor_value_info("input_1", TensorProto.FLOAT, [None, SPEECH_WINDOW, _BANDS, 1])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path
