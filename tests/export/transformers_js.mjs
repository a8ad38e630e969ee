// Transformers.js under Node on its WASM backend: the tokens and the logits of each line, as JSON.
//
//     node transformers_js.mjs NODE_MODULES FOLDER FILE   (FILE: a JSON list of texts; FOLDER: an export to ONNX)
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, folder, file] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${modules}/${path}`).href);

// Under Node, Transformers.js takes the native runtime unless another one is given here; browsers have this one.
const runtime = await load("onnxruntime-web/dist/ort.node.min.mjs");
runtime.env.wasm.wasmPaths = pathToFileURL(`${modules}/onnxruntime-web/dist/`).href;
runtime.env.wasm.numThreads = 1;
globalThis[Symbol.for("onnxruntime")] = runtime;

const { AutoModelForTokenClassification, AutoTokenizer, env } = await load(
  "@huggingface/transformers/dist/transformers.node.mjs",
);
env.allowRemoteModels = false;
env.useFSCache = false;
env.localModelPath = dirname(folder);

const tokenizer = await AutoTokenizer.from_pretrained(basename(folder));
const texts = JSON.parse(readFileSync(file, "utf-8"));
const result = { version: env.version, ids: [], logits: {} };
for (const text of texts) {
  result.ids.push(Array.from((await tokenizer(text)).input_ids.data, Number));
}
for (const dtype of ["fp32", "fp16", "q8", "q4"]) {
  const options = { dtype, device: "auto", session_options: { executionProviders: ["wasm"] } };
  const model = await AutoModelForTokenClassification.from_pretrained(basename(folder), options);
  result.logits[dtype] = [];
  for (const text of texts) {
    const { logits } = await model(await tokenizer(text, { truncation: true }));
    result.logits[dtype].push(logits.tolist()[0]);
  }
}
console.log(JSON.stringify(result));
