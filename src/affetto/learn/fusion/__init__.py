"""Fusion: a Track per modality in, named views out; any modality may be absent in a row or altogether.

A fusion is an `nn.Module` built as `Name(modalities, dim, ...)` with `views` (names in order, `fused` first
where there is one), `vote` (the name of the vote that suits it) and `forward(tracks) -> Views`. One that
reads `Track.times` names in `timed` the modalities whose times it reads: exported, it takes them as inputs.
Its constructor names the settings it needs, which are fields of `FusionConfig`; a pretrained backbone is
handed in third. A new one is a file and a line here. Votes merge what the heads of the views say.
"""

from affetto.learn.fusion.views import FUSED, Views

#: The forms by the level at which the modalities meet, from the medium towards the answer.
LEVELS = {
    # Raw input: frames are brought onto one clock and joined before anything is summarised.
    "input": {"early": "affetto.learn.fusion.early:Early"},
    # Features, step by step or pooled, become one representation together.
    "feature": {
        "concat": "affetto.learn.fusion.concat:Concat",
        "add": "affetto.learn.fusion.add:Add",
        "tensor": "affetto.learn.fusion.tensor:LowRankTensor",
        "film": "affetto.learn.fusion.film:Film",
        "self_attention": "affetto.learn.fusion.attention:SelfAttention",
        "crossmodal": "affetto.learn.fusion.crossmodal:Crossmodal",
        "mult": "affetto.learn.fusion.mult:Mult",
        "trimodal": "affetto.learn.fusion.trimodal:Trimodal",
        "bottleneck": "affetto.learn.fusion.bottleneck:Bottleneck",
        "prefix": "affetto.learn.fusion.prefix:Prefix",
    },
    # A modality is a whole: how much of each is taken depends on the input, and is reported.
    "modality": {
        "additive_attention": "affetto.learn.fusion.attention:AdditiveAttention",
        "dot_product_attention": "affetto.learn.fusion.attention:DotProductAttention",
        "gated": "affetto.learn.fusion.gated:Gated",
        "adaptive": "affetto.learn.fusion.adaptive:Adaptive",
    },
    # Every modality answers for itself; only a vote merges the answers.
    "decision": {"late": "affetto.learn.fusion.late:Late", "towers": "affetto.learn.fusion.towers:Towers"},
    # Features and decisions at once.
    "hybrid": {"hybrid": "affetto.learn.fusion.hybrid:Hybrid"},
}

FUSIONS = {name: place for forms in LEVELS.values() for name, place in forms.items()}

VOTES = {
    "learned": "affetto.learn.fusion.vote:LearnedVote",
    "mean": "affetto.learn.fusion.vote:MeanVote",
    "validated": "affetto.learn.fusion.vote:ValidatedVote",
    "majority": "affetto.learn.fusion.vote:MajorityVote",
    "fused": "affetto.learn.fusion.vote:FusedVote",
}

__all__ = ["FUSED", "FUSIONS", "LEVELS", "VOTES", "Views"]
