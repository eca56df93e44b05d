"""Training: clips to batches, batches to losses, losses to weights that can be taken up at any step.

Read `loop.fit` first, then `planning` (what a stage reads), `loaders` (clips to batches), `objectives` (batches
to a loss), `stage` (what happens after a step) and `checkpoint`.
"""
