"""The errors a user can cause and mend. Each message ends with the way out."""


class DeployBiasError(Exception):
    """Base of all of them; the command line prints it as one line and exits with its status."""

    exit_status = 2


class SourceError(DeployBiasError):
    """A checkpoint or its configuration cannot be exported."""


class OptionError(DeployBiasError, ValueError):
    """An option or argument is outside what the model or the backend supports."""


class BundleError(DeployBiasError):
    """A bundle or one of its files is missing, corrupt, foreign or of another version."""


class ContractError(DeployBiasError, ValueError):
    """An input does not fit the contract of its graph."""


class MismatchError(DeployBiasError):
    """A graph does not compute what eager computes; the exit status is 1."""

    exit_status = 1


class BackendError(DeployBiasError):
    """A backend is unknown or not installed."""
