package org.deploybias.bundle

/** What goes wrong here; the message names the thing, what was expected, what came and the way out. */
sealed class DeployBiasError(
    message: String,
    cause: Throwable? = null,
) : Exception(message, cause)

/** A bundle, or a file of it, is missing, corrupt, foreign or newer. */
class BundleError(
    message: String,
    cause: Throwable? = null,
) : DeployBiasError(message, cause)

/** A backend is unknown, not there, or cannot run a file. */
class BackendError(
    message: String,
    cause: Throwable? = null,
) : DeployBiasError(message, cause)

/** What was given does not fit the contract. */
class ContractError(
    message: String,
) : DeployBiasError(message)

/** An option is out of its range. */
class OptionError(
    message: String,
) : DeployBiasError(message)
