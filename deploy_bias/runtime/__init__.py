"""Run a bundle with numpy and one backend; torch is not needed for ONNX.

import deploy_bias.runtime
graphs = deploy_bias.runtime.load("digits-bundle", backend="onnx")
outputs = graphs["bias"](scores=scores)
"""

from deploy_bias.runtime.graph import Graph, load, open_file

__all__ = ["Graph", "load", "open_file"]
