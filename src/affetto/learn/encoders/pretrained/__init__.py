"""Pretrained backbones of Hugging Face as encoders: opened once, rebuilt from a bundle without a network.

`source` opens files and knows the families; `backbone` reads layers and says what learns; `speech`, `text` and
`vision` bring their media into the form a family expects, inside the graph.
"""
