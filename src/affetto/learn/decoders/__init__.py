"""Decoders: from a view to what a task asks for. Heads give logits [B C].

A head is an `nn.Module` built as `Name(dim, classes)` and called with the view's vector [B D] and its Track;
`reads_track` says that it needs the Track. What tasks share before their heads is a form of `sharing`.
A new one of either is a class and a line here.
"""

HEADS = {
    "linear": "affetto.learn.decoders.heads:LinearHead",
    "probe": "affetto.learn.decoders.heads:ProbeHead",
    "mlp": "affetto.learn.decoders.heads:MlpHead",
    "queries": "affetto.learn.decoders.heads:QueryHead",
}

SHARINGS = {
    "hard": "affetto.learn.decoders.sharing:Hard",
    "cross-stitch": "affetto.learn.decoders.sharing:CrossStitch",
    "tied": "affetto.learn.decoders.sharing:Tied",
    "experts": "affetto.learn.decoders.sharing:Experts",
}
