from .data.clevrer_questions import read_questions, what_if_questions
from .data.clevrer_scenes import read_scenes
from .events.collision_unit import CollisionUnit, FixedCollisionUnit
from .events.presence_unit import PresenceUnit
from .events.reader import CollisionReader
from .simulation.files import read_video, write_video
from .simulation.table import RollingTable
from .simulation.video import RollingVideo, generate_video

__all__ = [
    "CollisionReader",
    "CollisionUnit",
    "FixedCollisionUnit",
    "PresenceUnit",
    "RollingTable",
    "RollingVideo",
    "generate_video",
    "read_questions",
    "read_scenes",
    "read_video",
    "what_if_questions",
    "write_video",
]
