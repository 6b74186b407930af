"""Backbone, hybrid units, branch and task inference."""
