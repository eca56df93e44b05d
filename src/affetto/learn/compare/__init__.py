"""Models compared on the same clips: a grid of settings, several seeds each, one table and one plot.

grid     settings to vary -> variants of an experiment, and each modality alone
runs     a variant and a seed -> its answers to the test clips, kept as one line; nothing is run twice
folds    a comparison for each fold of a cross-validation -> one, with what nested validation chooses
table    answers -> rows with means, intervals and differences
report   rows -> terminal, Markdown, CSV, JSON and a plot
"""
