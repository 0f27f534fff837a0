/** deploy_bias bundles in a browser and in Node; a bundle in a folder: `deploy-bias/node`. */

export { Bundle, webFolder } from "./bundle.js";
export { Decoder } from "./decoder.js";
export { Encoder } from "./encoder.js";
export {
  BackendError,
  BundleError,
  ContractError,
  DeployBiasError,
  OptionError,
} from "./errors.js";
export { FeatureStream } from "./features.js";
export { close, Graph, load } from "./graph.js";
export { Joint } from "./joint.js";
export { OnnxBackend } from "./onnx.js";
export { check } from "./proof.js";
export { Recognizer } from "./recognizer.js";
export { GreedySearch } from "./search.js";
export { StateSpace } from "./state.js";
export { Tokens } from "./tokens.js";
export { readWav } from "./wav.js";
