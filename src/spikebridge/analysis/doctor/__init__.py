"""Diagnosis of a network: faults and their remedies."""
