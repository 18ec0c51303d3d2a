"""The client: needs the contract and discovery, and nothing of the server."""

from hearth.catalog import TaskInfo
from hearth.client.answer import Answer
from hearth.client.capabilities import Capabilities, Service
from hearth.client.client import Client
from hearth.client.connection import Connection
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.node import Node
from hearth.client.sync import SyncClient
from hearth.client.values import Embedding, Face, Faces, Label, Labels, TextLine, Texts

__all__ = [
    "Answer",
    "Capabilities",
    "Client",
    "Connection",
    "Embedding",
    "Face",
    "Faces",
    "Failure",
    "Job",
    "Label",
    "Labels",
    "Node",
    "Outcome",
    "Service",
    "SyncClient",
    "TaskInfo",
    "TextLine",
    "Texts",
]
