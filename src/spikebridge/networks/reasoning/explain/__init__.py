"""Answers in words, and their chains of causes as text, JSON and HTML."""
