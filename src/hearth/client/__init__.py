"""The client: needs the contract and discovery, and nothing of the server."""

from hearth.client.capabilities import Capabilities, Service, TaskInfo
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.stream import Connection

__all__ = ["Capabilities", "Connection", "Failure", "Job", "Outcome", "Service", "TaskInfo"]
