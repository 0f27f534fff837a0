/** What goes wrong here; the message names the thing, what was expected, what came and the way out. */
export class DeployBiasError extends Error {
  /**
   * @param {string} message
   * @param {{cause?: unknown}} [options]
   */
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A bundle or one of its files is missing, corrupt, foreign or of another version. */
export class BundleError extends DeployBiasError {}

/** A backend is unknown, not there, or cannot run a file. */
export class BackendError extends DeployBiasError {}

/** What was given does not fit the contract. */
export class ContractError extends DeployBiasError {}

/** An option is out of its range. */
export class OptionError extends DeployBiasError {}

/**
 * The first line of what an error says.
 * @param {unknown} error
 */
export function reasonOf(error) {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split("\n")[0];
}
