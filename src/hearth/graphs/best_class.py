"""A classifier's graph that answers with its best class alone, instead of a number for each.

A recogniser of text tells 18,710 characters apart: 9 MB of numbers for a line, of which two
matter for each position. What is chosen stays in the graph; its numbers are the same.
"""

from pathlib import Path

import numpy as np

from hearth.graphs.graph_io import load_graph, require_onnx, weight_files

CLASSES = "hearth.classes"
"""Key of the metadata: how many classes the graph chooses from."""


def with_best_class(path: Path, *, ranks: int = 1) -> bytes | None:
    """Rewrite the graph of a file in memory: its one output (…, classes) becomes (…, 2 ranks).

    These are the numbers of the classes with the largest values (of equal ones the first), and then
    these values, as float32; the metadata says from how many (``CLASSES``). None where that can't
    be done: another form of output, weights in other files.
    Raises ModelUnavailable, BackendUnavailable.
    """
    onnx = require_onnx()
    model = load_graph(path)
    graph = model.graph
    if len(graph.output) != 1 or weight_files(model):
        return None
    [scores] = graph.output
    kind = scores.type.tensor_type
    classes = kind.shape.dim[-1].dim_value if kind.shape.dim else 0
    # Numbers of classes are told apart as float32, which holds whole numbers to 2^24.
    if kind.elem_type != onnx.TensorProto.FLOAT or not ranks < classes < 1 << 24:
        return None
    node, name = onnx.helper.make_node, "hearth_best_{}".format
    count = onnx.numpy_helper.from_array(np.array([ranks], np.int64), name("ranks"))
    graph.initializer.append(count)
    graph.node.extend([
        node("TopK", [scores.name, count.name], [name("value"), name("number")], axis=-1),
        node("Cast", [name("number")], [name("class")], to=onnx.TensorProto.FLOAT),
        node("Concat", [name("class"), name("value")], [name("best")], axis=-1),
    ])  # fmt: skip
    shape = [dim.dim_param or dim.dim_value for dim in kind.shape.dim[:-1]]
    best = onnx.helper.make_tensor_value_info(
        name("best"), onnx.TensorProto.FLOAT, [*shape, 2 * ranks]
    )
    graph.output[0].CopyFrom(best)
    model.metadata_props.add(key=CLASSES, value=str(classes))
    return bytes(model.SerializeToString())
