"""Write src/hearth/assets/pixels.onnx: from pixels to what image models take.

    pixels uint8 (n, h, w, 3), scale float32 (3), offset float32 (3)
    image float32 (n, 3, h, w) = pixels · scale + offset, channel by channel

The node puts it in front of a model that takes floats; a node has no ``onnx`` package, so
the few hundred bytes are kept in the repository. Of the ways to say this, it is the one that
ONNX Runtime runs fastest: at 8 × 224 × 224 on one thread 38 µs an image, with Mul and Add
instead of BatchNormalization 48, with the transposition at the end 860.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

TARGET = Path(__file__).parent.parent / "src" / "hearth" / "assets" / "pixels.onnx"

OPSET = 17
"""Version of the operators, that of our exports."""


def front() -> bytes:
    """Make the graph as it stands in the file."""
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        # With a mean of 0 and a variance of 1: one product and one sum in one pass.
        helper.make_node(
            "BatchNormalization", ["floats", "scale", "offset", "0", "1"], ["image"], epsilon=0.0
        ),
    ]
    inputs = [
        helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", "h", "w", 3]),
        helper.make_tensor_value_info("scale", TensorProto.FLOAT, [3]),
        helper.make_tensor_value_info("offset", TensorProto.FLOAT, [3]),
    ]
    output = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    constants = [
        numpy_helper.from_array(np.zeros(3, np.float32), "0"),
        numpy_helper.from_array(np.ones(3, np.float32), "1"),
    ]
    graph = helper.make_graph(nodes, "pixels", inputs, [output], constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="hearth")
    checker.check_model(model, full_check=True)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


if __name__ == "__main__":
    TARGET.write_bytes(front())
