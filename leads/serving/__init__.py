"""Adapted models outside Python sessions: exported graphs, and a small HTTP service."""

from leads.serving.export import export
from leads.serving.limits import Limits
from leads.serving.service import Service

__all__ = ["Limits", "Service", "export"]
