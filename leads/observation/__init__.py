"""What is seen of a state: observation operators that can be composed and differentiated."""

from leads.observation.along_track import AlongTrack
from leads.observation.channels import Channels, Combine
from leads.observation.compose import Compose
from leads.observation.layered_height import LayeredHeight
from leads.observation.masks import Clouds, FixedMask
from leads.observation.noise import Noise
from leads.observation.operator import Layout, Operator, from_description, operators
from leads.observation.points import AtPoints, Sampled

__all__ = [
    "AlongTrack",
    "AtPoints",
    "Channels",
    "Clouds",
    "Combine",
    "Compose",
    "FixedMask",
    "LayeredHeight",
    "Layout",
    "Noise",
    "Operator",
    "Sampled",
    "from_description",
    "operators",
]
