"""The commands of `spikebridge`, one file each; a new one is a file and a line here."""

from spikebridge.commands.ask import Ask
from spikebridge.commands.command import Command
from spikebridge.commands.compare import Compare
from spikebridge.commands.copy import Copy
from spikebridge.commands.data import Data
from spikebridge.commands.doctor import Doctor
from spikebridge.commands.draw import Draw
from spikebridge.commands.evaluate import Eval
from spikebridge.commands.export import Export
from spikebridge.commands.listing import List
from spikebridge.commands.live import Live
from spikebridge.commands.quantize import Quantize
from spikebridge.commands.report import Report
from spikebridge.commands.run import RunBundle
from spikebridge.commands.track import Track
from spikebridge.commands.train import Train

COMMANDS: dict[str, type[Command]] = {
    "list": List,
    "train": Train,
    "eval": Eval,
    "report": Report,
    "draw": Draw,
    "doctor": Doctor,
    "data": Data,
    "copy": Copy,
    "track": Track,
    "ask": Ask,
    "live": Live,
    "export": Export,
    "compare": Compare,
    "run": RunBundle,
    "quantize": Quantize,
}
