// What TypeScript does not know of: the runtime's file where a site has it, and audio worklets.
declare module "*ort.wasm.bundle.min.mjs" {
  export * from "onnxruntime-web";
}

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, kind: new () => AudioWorkletProcessor): void;
