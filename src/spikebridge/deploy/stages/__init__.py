"""Stages of hybrid units and neurons in arrays: each is written once, for floats, fake integers and integers."""
