from .data.clevrer_questions import read_questions
from .data.clevrer_scenes import read_scenes
from .data.scene import Question, Scene
from .events.collision_unit import CollisionUnit
from .events.presence_unit import PresenceUnit
from .graph.readout import GraphAnswer
from .graph.run import Execution, answer
from .simulation.files import read_video, write_video
from .simulation.video import generate_video

__all__ = [
    "CollisionUnit",
    "Execution",
    "GraphAnswer",
    "PresenceUnit",
    "Question",
    "Scene",
    "answer",
    "generate_video",
    "read_questions",
    "read_scenes",
    "read_video",
    "write_video",
]
