"""Trains the corpus: tiny real models that really fail, and their healthy twins.

Needs torch, tensorboard and safetensors (the ``samples`` extra); judging the corpus needs none.
"""
