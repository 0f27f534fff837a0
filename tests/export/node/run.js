// Runs data sets on onnxruntime-node. On stdin {model, sets: [{name: [type, dims, base64]}]}; on
// stdout the outputs of each set, likewise.
const ort = require('onnxruntime-node');

const ARRAYS = { float32: Float32Array, int64: BigInt64Array };

function tensor([type, dims, data]) {
  const bytes = new Uint8Array(Buffer.from(data, 'base64')); // a copy, so aligned
  return new ort.Tensor(type, new ARRAYS[type](bytes.buffer), dims);
}

function encoded({ type, dims, data }) {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return [type, dims, bytes.toString('base64')];
}

const map = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));

async function main() {
  const { model, sets } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const session = await ort.InferenceSession.create(model);
  const found = [];
  for (const inputs of sets) found.push(map(await session.run(map(inputs, tensor)), encoded));
  process.stdout.write(JSON.stringify(found));
}

main();
