from .data.clevrer_questions import read_questions
from .data.clevrer_scenes import read_scenes
from .data.scene import Question, Scene
from .graph.readout import GraphAnswer
from .graph.run import answer
from .simulation.files import read_video, write_video
from .simulation.video import generate_video

__all__ = [
    "GraphAnswer",
    "Question",
    "Scene",
    "answer",
    "generate_video",
    "read_questions",
    "read_scenes",
    "read_video",
    "write_video",
]
