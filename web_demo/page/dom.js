/** Elements of the page. */

/**
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @returns {Kind}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return /** @type {Kind} */ (found);
}

/**
 * @param {string} name
 * @param {{class?: string, title?: string}} attributes
 * @param {...(string | Node)} content
 */
export function make(name, attributes, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...Node} content
 */
export function makeSvg(name, attributes, ...content) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...content);
  return made;
}

/**
 * A row of a table; the first cell is its heading.
 * @param {[string, string][]} cells text and class.
 */
export function row(cells) {
  return make(
    "tr",
    {},
    ...cells.map(([text, kind], at) =>
      at === 0 ? rowHeading(text) : make("td", { class: kind }, text),
    ),
  );
}

/** @param {string} text */
function rowHeading(text) {
  const heading = make("th", {}, text);
  heading.setAttribute("scope", "row");
  return heading;
}

/**
 * Says something in a line of the page.
 * @param {HTMLElement} line
 * @param {string} text
 * @param {"" | "error" | "passed" | "failed"} [kind]
 */
export function say(line, text, kind = "") {
  line.textContent = text;
  line.className = kind;
}
