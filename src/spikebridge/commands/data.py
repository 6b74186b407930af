"""`spikebridge data`."""

from dataclasses import dataclass

from spikebridge import layout
from spikebridge.commands.command import Answer, Command, DataFolder
from spikebridge.data import files


@dataclass(frozen=True, kw_only=True)
class Data(Command):
    """Show which data sets are there, and where the others come from."""

    data: DataFolder = None
    """The folder with data sets."""

    def answer(self) -> Answer:
        """Looks for files; nothing is downloaded."""
        entries = files.available(self.data)
        sets = [
            {"name": entry.data_set.name, "present": entry.present, "missing": list(entry.missing)}
            | {"about": entry.data_set.about, "source": entry.data_set.source, "licence": entry.data_set.licence}
            for entry in entries
        ]
        return Answer({"data sets": sets}, layout.data_sets(sets))
