"""ESPnet's default frontend: from samples to the normalised log mel features of the encoder.

- `DefaultFrontend`, then `GlobalMVN`, `UtteranceMVN` or nothing: whole utterances, as ESPnet.
- `FrontendStep`: the same for a fixed number of frames, as a graph with static shapes.
  `deploy_bias.runtime.features` cuts samples for it.

Samples are float in [-1, 1), as soundfile reads them: 16-bit samples are divided by 32768. The
features of other scales differ by a constant, which global_mvn does not take away.
"""

from deploy_bias.frontend.default import DefaultFrontend, get_frontend
from deploy_bias.frontend.mvn import GlobalMVN, UtteranceMVN, get_normalize
from deploy_bias.frontend.step import FrontendStep

__all__ = [
    "DefaultFrontend",
    "FrontendStep",
    "GlobalMVN",
    "UtteranceMVN",
    "get_frontend",
    "get_normalize",
]
