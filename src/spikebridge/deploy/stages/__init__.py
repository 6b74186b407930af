"""Stages of hybrid units, and neurons, in arrays: one definition for floats, fake integers, integers and C."""
