"""What shows rather than ships: small corpora, tiny models, the demonstration, the experiment.

`corpus` makes tones and `spoken` speech, `tiny` and `tiny_families` random models of a few thousand
weights, `demo` the whole path with its times, and `weak_align` asks whether a projector alone makes
a frozen language model hear. Nothing outside this folder and the command line imports them.
"""
