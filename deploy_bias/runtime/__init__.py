"""Run a bundle with numpy and one backend; torch is not needed for ONNX.

from deploy_bias.runtime import Decoder, Joint, Recognizer, load, open_search

print(Recognizer("digits-bundle").decode(samples, sample_rate).text)

graphs = load("digits-bundle", backend="onnx")
search = open_search("maes", Decoder(graphs["decoder"]), Joint(graphs["joint"]), beam_size=4)
search.accept(encoder_out)
print(search.results(nbest=3))
"""

from deploy_bias.runtime.decoder import Decoder, DecoderStream
from deploy_bias.runtime.encoder import Encoder, EncoderStream
from deploy_bias.runtime.graph import Graph, load, open_file
from deploy_bias.runtime.joint import Joint
from deploy_bias.runtime.language_model import LanguageModel
from deploy_bias.runtime.proof import check
from deploy_bias.runtime.proof.report import ProofReport, ProofRow
from deploy_bias.runtime.recognizer import open_recognizer
from deploy_bias.runtime.recognizer.endpoint import EndpointRules
from deploy_bias.runtime.recognizer.offline import OfflineRecognizer, OfflineStream
from deploy_bias.runtime.recognizer.online import Recognizer, RecognizerStream
from deploy_bias.runtime.recognizer.recognition import Recognition, Word
from deploy_bias.runtime.search import Result, Search, open_search
from deploy_bias.runtime.state import State

__all__ = [
    "Decoder",
    "DecoderStream",
    "Encoder",
    "EncoderStream",
    "EndpointRules",
    "Graph",
    "Joint",
    "LanguageModel",
    "OfflineRecognizer",
    "OfflineStream",
    "ProofReport",
    "ProofRow",
    "Recognition",
    "Recognizer",
    "RecognizerStream",
    "Result",
    "Search",
    "State",
    "Word",
    "check",
    "load",
    "open_file",
    "open_recognizer",
    "open_search",
]
