"""Where an utterance ends in audio that goes on, by sherpa-onnx's rules. No torch here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EndpointRules:
    """An utterance ends when any of these holds. All in seconds; infinity switches a rule off.

    rule1_min_trailing_silence: so much without a token at its end, whether or not any came before.
    rule2_min_trailing_silence: so much without a token behind a token.
    rule3_min_utterance_length: it is so long.
    """

    rule1_min_trailing_silence: float = 2.4
    rule2_min_trailing_silence: float = 1.2
    rule3_min_utterance_length: float = 20.0

    def is_endpoint(self, length: float, trailing_silence: float) -> bool:
        """Say whether an utterance has ended.

        Args:
            length: of what was decoded of it.
            trailing_silence: since its last token; all of `length` if there is none.
        """
        return (
            trailing_silence >= self.rule1_min_trailing_silence
            or self.rule2_min_trailing_silence <= trailing_silence < length
            or length >= self.rule3_min_utterance_length
        )
