from .data.clevrer_questions import QuestionFile, WhatIfText, read_questions, what_if_questions
from .data.clevrer_scenes import read_scenes
from .data.scene import Choice, Question, Scene
from .events.collision_unit import CollisionUnit, FixedCollisionUnit
from .events.presence_unit import PresenceUnit
from .events.reader import CollisionReader
from .graph.readout import GraphAnswer
from .graph.run import Execution, answer
from .graph.spiking_graph import GraphFaults
from .simulation.files import VideoFile, read_video, write_video
from .simulation.table import RollingTable
from .simulation.video import RollingVideo, generate_video

__all__ = [
    "Choice",
    "CollisionReader",
    "CollisionUnit",
    "Execution",
    "FixedCollisionUnit",
    "GraphAnswer",
    "GraphFaults",
    "PresenceUnit",
    "Question",
    "QuestionFile",
    "RollingTable",
    "RollingVideo",
    "Scene",
    "VideoFile",
    "WhatIfText",
    "answer",
    "generate_video",
    "read_questions",
    "read_scenes",
    "read_video",
    "what_if_questions",
    "write_video",
]
