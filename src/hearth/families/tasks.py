"""All tasks there are: the one list that routing, capabilities, help and README are made from.

It needs a node's packages, which the declarations of families alone do without.
"""

from hearth.catalog import FieldInfo, SchemaInfo
from hearth.families.registry import FAMILIES
from hearth.tasks.render import MODEL
from hearth.tasks.task import Task

TASKS: tuple[Task, ...] = tuple(task for family in FAMILIES for task in family.tasks())

TEXT_GENERATION_V1 = SchemaInfo(
    "text_generation_v1",
    "text that a model wrote; other nodes answer so",
    (
        FieldInfo("text", "text"),
        FieldInfo("finish_reason", "name", "stop, length, eos_token, stop_sequence or error"),
        FieldInfo("generated_tokens", "count"),
        FieldInfo("input_tokens", "count"),
        MODEL,
    ),
)

SCHEMAS: dict[str, SchemaInfo] = {
    schema.name: schema
    for schema in (
        *(schema for task in TASKS for schema in (task.schema, task.delta_schema)),
        TEXT_GENERATION_V1,
    )
    if schema is not None
}
"""Schemas of all answers and of their deltas by name, each once."""
