from .data.front_ends import AudioFrontEnd, ChannelFrontEnd
from .data.sensor import Sensor, SensorConfig
from .data.windows import Windows
from .model.network import VARIANTS, Shape, signals_network

__all__ = [
    "VARIANTS",
    "AudioFrontEnd",
    "ChannelFrontEnd",
    "Sensor",
    "SensorConfig",
    "Shape",
    "Windows",
    "signals_network",
]
