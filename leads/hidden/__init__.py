"""Models whose state is partly hidden, and initial states from observations."""

from leads.hidden.background import Background
from leads.hidden.build import build_hidden, from_recipe
from leads.hidden.dynamics import HiddenStateDynamics
from leads.hidden.encoder import StateEncoder
from leads.hidden.scores import ChannelScores, channel_scores, check_hidden
from leads.hidden.variational import Analysis, fourdvar

__all__ = [
    "Analysis",
    "Background",
    "ChannelScores",
    "HiddenStateDynamics",
    "StateEncoder",
    "build_hidden",
    "channel_scores",
    "check_hidden",
    "fourdvar",
    "from_recipe",
]
