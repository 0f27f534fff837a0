/** Calls what worker.js offers. */

export class Client {
  /** @param {(event: any) => void} tell given each event of the worker. */
  constructor(tell) {
    /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
    this.calls = new Map();
    this.count = 0;
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data: { id, event, result, error } }) => {
      if (event) return tell(event);
      const call = this.calls.get(id);
      this.calls.delete(id);
      if (error === undefined) call?.resolve(result);
      else call?.reject(new Error(error));
    };
    this.worker.onerror = (event) => {
      const why = event.message || "a file of it could not be loaded";
      const error = new Error(`The page's worker stopped (${why}). Load the page again.`);
      for (const call of this.calls.values()) call.reject(error);
      this.calls.clear();
    };
  }

  /**
   * @param {string} call
   * @param {Record<string, unknown>} [request]
   * @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  call(call, request = {}, transfer = []) {
    const id = this.count++;
    this.worker.postMessage({ id, call, ...request }, transfer);
    return new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }));
  }
}
