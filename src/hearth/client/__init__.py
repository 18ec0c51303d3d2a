"""Client of hearth's nodes: needs the contract and discovery, and nothing of the server."""

from hearth.catalog import TaskInfo
from hearth.client.answer import Answer, AnswerPart
from hearth.client.capabilities import Capabilities, Node, Service
from hearth.client.client import Client
from hearth.client.connection import Connection
from hearth.client.messages import Failure, Job, Outcome
from hearth.client.sync import SyncClient
from hearth.client.values import Embedding, Face, Faces, Label, Labels, TextLine, Texts

__all__ = [
    "Answer",
    "AnswerPart",
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
