/**
 * Checks what JSON holds, with the words of pydantic, by which Python checks the same.
 *
 * A schema is a function that is given a value and where it stands, and throws a Misfit.
 */

/** @typedef {(value: unknown, at: readonly (string | number)[]) => void} Schema */

/** A value that does not fit. */
export class Misfit extends Error {
  /**
   * @param {readonly (string | number)[]} at
   * @param {string} message
   */
  constructor(at, message) {
    super(message);
    this.at = at.join(".");
  }
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
export const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @type {Schema} */
export function string(value, at) {
  if (typeof value !== "string") throw new Misfit(at, "Input should be a valid string");
}

/** @type {Schema} */
export function number(value, at) {
  if (typeof value !== "number") throw new Misfit(at, "Input should be a valid number");
}

/** @type {Schema} */
export function integer(value, at) {
  if (typeof value !== "number") throw new Misfit(at, "Input should be a valid integer");
  if (!Number.isInteger(value)) {
    throw new Misfit(
      at,
      "Input should be a valid integer, got a number with a fractional part",
    );
  }
}

/** @type {Schema} */
export function positive(value, at) {
  integer(value, at);
  if (Number(value) <= 0) throw new Misfit(at, "Input should be greater than 0");
}

/** @type {Schema} */
export function nonNegative(value, at) {
  integer(value, at);
  if (Number(value) < 0) throw new Misfit(at, "Input should be greater than or equal to 0");
}

/**
 * @param {...string} choices
 * @returns {Schema}
 */
export function literal(...choices) {
  const quoted = choices.map((choice) => `'${choice}'`);
  const last = quoted.pop();
  const expected = quoted.length ? `${quoted.join(", ")} or ${last}` : last;
  return (value, at) => {
    if (!choices.includes(/** @type {string} */ (value))) {
      throw new Misfit(at, `Input should be ${expected}`);
    }
  };
}

/**
 * @param {RegExp} expression
 * @returns {Schema}
 */
export const pattern = (expression) => (value, at) => {
  string(value, at);
  if (!expression.test(String(value))) {
    throw new Misfit(at, `String should match pattern '${expression.source}'`);
  }
};

/** @type {(schema: Schema) => Schema} */
export const nullable = (schema) => (value, at) => {
  if (value !== null) schema(value, at);
};

/**
 * @param {Schema} schema of each item.
 * @param {number} [minimum] how many there must be.
 * @returns {Schema}
 */
export const array =
  (schema, minimum = 0) =>
  (value, at) => {
    if (!Array.isArray(value)) throw new Misfit(at, "Input should be a valid tuple");
    value.forEach((item, index) => schema(item, [...at, index]));
    if (value.length < minimum) {
      const noun = minimum === 1 ? "item" : "items";
      throw new Misfit(
        at,
        `Tuple should have at least ${minimum} ${noun} after validation, not ${value.length}`,
      );
    }
  };

/** @type {(schema: Schema) => Schema} */
export const dictionary = (schema) => (value, at) => {
  if (!isObject(value)) throw new Misfit(at, "Input should be a valid dictionary");
  for (const [key, item] of Object.entries(value)) schema(item, [...at, key]);
};

/** @type {Schema} */
export const anything = () => {};

/**
 * An object without any field that is not known.
 * @param {string} name
 * @param {Record<string, Schema>} required
 * @param {Record<string, Schema>} [optional]
 * @returns {Schema}
 */
export function object(name, required, optional = {}) {
  return (value, at) => {
    if (!isObject(value)) {
      throw new Misfit(at, `Input should be a valid dictionary or instance of ${name}`);
    }
    for (const [key, schema] of Object.entries(required)) {
      if (!(key in value)) throw new Misfit([...at, key], "Field required");
      schema(value[key], [...at, key]);
    }
    for (const [key, schema] of Object.entries(optional)) {
      if (key in value) schema(value[key], [...at, key]);
    }
    for (const key of Object.keys(value)) {
      if (!(key in required) && !(key in optional)) {
        throw new Misfit([...at, key], "Extra inputs are not permitted");
      }
    }
  };
}

/**
 * One of several objects, which a field tells apart.
 * @param {string} field
 * @param {Record<string, Schema>} choices
 * @returns {Schema}
 */
export function tagged(field, choices) {
  const expected = Object.keys(choices).map((choice) => `'${choice}'`);
  return (value, at) => {
    if (!isObject(value)) {
      throw new Misfit(at, "Input should be a valid dictionary or object to extract fields from");
    }
    const tag = value[field];
    if (tag === undefined) {
      throw new Misfit(at, `Unable to extract tag using discriminator '${field}'`);
    }
    const schema = typeof tag === "string" && Object.hasOwn(choices, tag) ? choices[tag] : null;
    if (!schema) {
      throw new Misfit(
        at,
        `Input tag '${tag}' found using '${field}' does not match any of the expected tags: ` +
          expected.join(", "),
      );
    }
    schema(value, [...at, String(tag)]);
  };
}
