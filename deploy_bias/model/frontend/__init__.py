"""ESPnet's default frontend: from samples to the normalised log mel features of the encoder.

`DefaultFrontend`, then `GlobalMVN`, `UtteranceMVN` or nothing: whole utterances, as ESPnet.

Samples are float in [-1, 1), as soundfile reads them: 16-bit samples are divided by 32768. The
features of other scales differ by a constant, which global_mvn does not take away.
"""

from deploy_bias.model.frontend.default import DefaultFrontend, get_frontend
from deploy_bias.model.frontend.mvn import GlobalMVN, UtteranceMVN, get_normalize

__all__ = [
    "DefaultFrontend",
    "GlobalMVN",
    "UtteranceMVN",
    "get_frontend",
    "get_normalize",
]
