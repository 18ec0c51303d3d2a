"""What a node offers is told in neutral words, from which every door makes its list."""

import hearth.client
from hearth.known import SCHEMAS
from hearth.serving.description import describe_services
from node_kit import lab_node


async def test_a_nodes_services_are_described_without_any_door():
    async with lab_node() as node:
        lab = describe_services(node.service.router, largest_request=1000)[0]
    assert (lab.name, lab.state, lab.reason) == ("lab", "ready", "")
    assert lab.model is not None
    assert (lab.model.id, lab.model.runtime, lab.model.device) == ("lab-1", "python", "cpu")
    assert lab.model.metadata["max_batch"] == "8"
    tasks = {task.name: task for task in lab.tasks}
    upper, later = tasks["upper"], tasks["later"]
    assert upper.names == ("upper", "shout") and upper.takes_text and upper.schema is not None
    assert upper.limits["max_payload_bytes"] == "1000"
    assert {option.name: option.in_words() for option in upper.options}.items() <= (
        upper.limits.items()
    )
    assert (upper.missing, later.missing) == ("", "still being made (7 %)")


def test_what_answers_are_read_as_is_there_for_everybody():
    values = {schema.value for schema in SCHEMAS.values() if schema.value}
    assert values == {"Embedding", "Labels", "Texts", "Faces"}
    assert values <= set(hearth.client.__all__)
