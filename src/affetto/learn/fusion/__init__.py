"""Fusion: a Track per modality in, named views out; any modality may be absent in a row or altogether.

A fusion is an `nn.Module` built as `Name(modalities, dim, ...)` with `views` (names in order, `fused` first
where there is one), `vote` (the name of the vote that suits it) and `forward(tracks) -> Views`. One that
reads `Track.times` names in `timed` the modalities whose times it reads: exported, it takes them as inputs.
Its constructor names the settings it needs, which are fields of `FusionConfig`. A new one is a file and a
line here. Votes merge what the heads of the views say.
"""

from affetto.learn.fusion.views import FUSED, Views

FUSIONS = {
    "hybrid": "affetto.learn.fusion.hybrid:Hybrid",
    "crossmodal": "affetto.learn.fusion.crossmodal:Crossmodal",
    "gated": "affetto.learn.fusion.gated:Gated",
    "concat": "affetto.learn.fusion.concat:Concat",
    "late": "affetto.learn.fusion.late:Late",
}

VOTES = {
    "learned": "affetto.learn.fusion.vote:LearnedVote",
    "mean": "affetto.learn.fusion.vote:MeanVote",
    "majority": "affetto.learn.fusion.vote:MajorityVote",
    "fused": "affetto.learn.fusion.vote:FusedVote",
}

__all__ = ["FUSED", "FUSIONS", "VOTES", "Views"]
