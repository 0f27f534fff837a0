/**
 * The one interpreter of state in JavaScript: it carries state from step to step by a contract, as
 * deploy_bias.runtime.state does in Python.
 *
 * const space = new StateSpace(graph.contract);
 * let state = space.start();
 * const outputs = await graph.run(space.feed(state, { label }));
 * state = space.after(state, { label }, outputs);
 *
 * A state is a value: to fork a hypothesis, feed its state more than once. It is of the whole batch.
 *
 * @typedef {import("./contract.js").GraphContract} GraphContract
 * @typedef {import("./tensor.js").Named} Named
 * @typedef {import("./tensor.js").Tensor} Tensor
 * @typedef {Readonly<{counts: number[], values: Tensor[], windows: Window[]}>} State of the rules to
 *   count, to replace and to append.
 */

import { rowCount, zerosOf } from "./contract.js";
import { ContractError } from "./errors.js";
import { full } from "./tensor.js";
import { Window } from "./windows.js";

export class StateSpace {
  /**
   * @param {GraphContract} contract
   * @throws {ContractError} a rule names an input or an output that the contract does not have.
   */
  constructor(contract) {
    this.contract = contract;
    const rules = contract.state ?? [];
    const inputs = contract.inputs.map((spec) => spec.name);
    const outputs = contract.outputs.map((spec) => spec.name);
    for (const { input, output } of rules) {
      if (!inputs.includes(input) || (output && !outputs.includes(output))) {
        throw new ContractError(
          `graph '${contract.name}': the state '${input}' is made of '${output}', and the graph has ` +
            `the inputs ${inputs.join(", ")} and the outputs ${outputs.join(", ")}; export again.`,
        );
      }
    }
    const specs = new Map(contract.inputs.map((spec) => [spec.name, spec]));
    /** @param {{input: string}} rule */
    const first = (rule) => zerosOf(/** @type {any} */ (specs.get(rule.input)));
    const of = {
      count: rules.filter((rule) => rule.update === "count"),
      replace: rules.filter((rule) => rule.update === "replace"),
      append: rules.filter((rule) => rule.update === "append"),
    };
    this.counts = of.count.map((rule) => ({ rule, like: first(rule) }));
    this.replaced = of.replace.map((rule) => ({
      rule,
      like: first(rule),
      at: outputs.indexOf(rule.output),
    }));
    this.appended = of.append.map((rule) => ({
      rule,
      like: first(rule),
      at: outputs.indexOf(rule.output),
    }));
  }

  /**
   * The state before the first step.
   * @returns {State}
   */
  start() {
    return {
      counts: this.counts.map(({ rule }) => rule.initial ?? 0),
      values: this.replaced.map(({ rule, like }) =>
        full(like.dtype, like.shape, rule.initial ?? 0),
      ),
      windows: this.appended.map(({ like }) => new Window(like.dtype, like.shape)),
    };
  }

  /**
   * The inputs of a call in the order of the contract.
   * @param {State} state
   * @param {Named} own the inputs that are not state, by name.
   */
  feed(state, own) {
    const inputs = { ...this.inputs(state), ...own };
    return this.contract.inputs.map((spec) => inputs[spec.name]);
  }

  /**
   * The inputs that are state, by name; not to be written.
   * @param {State} state
   * @returns {Record<string, Tensor>}
   */
  inputs(state) {
    return Object.fromEntries([
      ...this.counts.map(({ rule, like }, index) => [
        rule.input,
        full(like.dtype, like.shape, state.counts[index]),
      ]),
      ...this.replaced.map(({ rule }, index) => [rule.input, state.values[index]]),
      ...this.appended.map(({ rule }, index) => [rule.input, state.windows[index].view()]),
    ]);
  }

  /**
   * The state after a step.
   * @param {State} state that was fed.
   * @param {Named} own the inputs that are not state, by name.
   * @param {Tensor[]} outputs in the order of the contract.
   * @returns {State}
   */
  after(state, own, outputs) {
    return {
      counts: this.counts.map(({ rule }, index) => {
        const valid =
          state.counts[index] + (rule.output ? (this.genuineRows(own, rule.output) ?? 1) : 1);
        return valid === rule.restart_at ? (rule.initial ?? 0) : Math.min(valid, rule.limit);
      }),
      values: this.replaced.map(({ at }) => outputs[at]),
      windows: this.appended.map(({ rule, at }, index) => {
        const window = state.windows[index];
        const { data, shape } = outputs[at];
        const [lead, row] = typeof rule.row === "number" ? [shape[0], rule.row] : [1, 0];
        const size = data.length / lead; // of what holds the rows
        const given = size / (window.batch * window.width);
        return window.append(data, row * size, given, this.genuineRows(own, rule.output) ?? 1);
      }),
    };
  }

  /**
   * How many rows of axis 1 of an output are genuine; null where no `rows` says it.
   * @param {Named} own the inputs that are not state, by name.
   * @param {string} output
   */
  genuineRows(own, output) {
    const rows = this.contract.outputs.find((spec) => spec.name === output)?.rows;
    return rows ? rowCount(rows, Number(own[rows.input].data[0])) : null;
  }
}
