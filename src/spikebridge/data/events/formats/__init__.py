"""File formats of events, one a file; `events/files.py` has the table of their suffixes."""
