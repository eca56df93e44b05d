"""Decoders: from a view to what a task asks for. Heads give logits [B C].

A head is an `nn.Module` built as `Name(dim, classes)` and called with the view's vector [B D] and its Track.
A new one is a class and a line here.
"""

HEADS = {
    "linear": "affetto.learn.decoders.heads:LinearHead",
    "mlp": "affetto.learn.decoders.heads:MlpHead",
    "queries": "affetto.learn.decoders.heads:QueryHead",
}
