"""Run a bundle with numpy and one backend; torch is not needed for ONNX.

from deploy_bias.runtime import Decoder, Joint, load, open_search

graphs = load("digits-bundle", backend="onnx")
search = open_search("maes", Decoder(graphs["decoder"]), Joint(graphs["joint"]), beam_size=4)
search.accept(encoder_out)
print(search.results(nbest=3))
"""

from deploy_bias.runtime.decoder import Decoder, State, Stream
from deploy_bias.runtime.graph import Graph, load, open_file
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.search import Result, Search, open_search

__all__ = [
    "Decoder",
    "Graph",
    "Joint",
    "Result",
    "Search",
    "State",
    "Stream",
    "load",
    "open_file",
    "open_search",
]
