// Runs one network as its package ships it, under TF.js's pure JavaScript backend, on raw float32 pictures.
//   node original.mjs FILE N H W C OUTPUT...     reads FILE.in, writes FILE.<OUTPUT>.out, in the working folder
// face-api: the package's own forwardInput (padding, normalisation and all). human: its graph model files in @tensorflow/tfjs.
import fs from 'node:fs';
import Module, { createRequire } from 'node:module';
const require = createRequire(import.meta.url);
const [file, N, H, W, C, ...outputs] = process.argv.slice(2);
const shape = [N, H, W, C].map(Number);
const raw = fs.readFileSync(`${file}.in`);
const data = new Float32Array(raw.buffer, raw.byteOffset, raw.length / 4);
const save = (name, values) => fs.writeFileSync(`${file}.${name}.out`, Buffer.from(new Float32Array(values).buffer));
const bytes = (path) => { const b = fs.readFileSync(path); return b.buffer.slice(b.byteOffset, b.byteOffset + b.length); };

if (file.startsWith('faceapi')) {
  // face-api's node build asks for the native backend; the pure JavaScript one has the same interface.
  const resolve = Module._resolveFilename;
  Module._resolveFilename = (name, ...rest) => resolve(name === '@tensorflow/tfjs-node' ? '@tensorflow/tfjs' : name, ...rest);
  const faceapi = require('@vladmandic/face-api/dist/face-api.node.js');
  const tf = require('@tensorflow/tfjs');
  await tf.setBackend('cpu');
  await tf.ready();
  const [Net, stem] = { 'faceapi_recognition.onnx': [faceapi.FaceRecognitionNet, 'face_recognition_model'], 'faceapi_expression.onnx': [faceapi.FaceExpressionNet, 'face_expression_model'], 'faceapi_age_sex.onnx': [faceapi.AgeGenderNet, 'age_gender_model'], 'faceapi_detector.onnx': [faceapi.SsdMobilenetv1, 'ssd_mobilenetv1_model'] }[file];
  const dir = 'node_modules/@vladmandic/face-api/model';
  const specs = JSON.parse(fs.readFileSync(`${dir}/${stem}-weights_manifest.json`)).flatMap((g) => g.weights);
  const net = new Net();
  net.loadFromWeightMap(tf.io.decodeWeights(bytes(`${dir}/${stem}.bin`), specs));
  const pictures = tf.unstack(tf.tensor4d(data, shape)).map((p) => tf.expandDims(p));
  const out = Object.fromEntries(outputs.map((o) => [o, []]));
  for (const p of pictures) {
    const y = net.forwardInput(new faceapi.NetInput([p]));
    if (file === 'faceapi_age_sex.onnx') { out.age.push(...y.age.dataSync()); out.sex.push(...y.gender.dataSync()); }
    else if (file === 'faceapi_detector.onnx') { out.boxes.push(...y.boxes[0].dataSync()); out.scores.push(...y.scores[0].dataSync()); } else out[outputs[0]].push(...y.dataSync());
  }
  for (const o of outputs) save(o, out[o]);
} else {
  const tf = require('@tensorflow/tfjs');
  await tf.setBackend('cpu');
  const stem = file.replace('.onnx', '');
  const dir = 'node_modules/@vladmandic/human/models';
  const j = JSON.parse(fs.readFileSync(`${dir}/${stem}.json`));
  const model = await tf.loadGraphModel({ load: async () => ({ modelTopology: j.modelTopology, weightSpecs: j.weightsManifest.flatMap((g) => g.weights), weightData: bytes(`${dir}/${stem}.bin`), format: j.format, signature: j.signature }) });
  const tfName = { embedding: 'global_pooling/Mean', age: 'age_pred/Softmax', sex: 'gender_pred/Sigmoid', emotion: 'Identity' };
  const rows = tf.unstack(tf.tensor4d(data, shape)).map((p) => [model.execute(tf.expandDims(p), outputs.map((o) => tfName[o]))].flat().map((y) => [...y.dataSync()]));
  outputs.forEach((o, k) => save(o, rows.flatMap((r) => r[k])));
}
