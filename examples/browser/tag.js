// Tags names in the browser with Transformers.js, from files that lie beside this page; see README.md.
// ?dtype=q4 (fp32, fp16, q8 or q4) selects the graph, ?model=NAME the folder in models/.

const settings = new URLSearchParams(location.search);
const dtype = settings.get("dtype") ?? "q8";
const name = settings.get("model") ?? "tagger";
const at = (path) => new URL(path, location.href).href;

// The library without a bundler: the page says where its two imports lie.
const map = document.createElement("script");
map.type = "importmap";
map.textContent = JSON.stringify({
  imports: {
    "onnxruntime-web/webgpu": at("node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs"),
    "onnxruntime-common": at("node_modules/onnxruntime-common/dist/esm/index.js"),
  },
});
document.head.append(map);

const page = { text: document.getElementById("text"), found: document.getElementById("found") };
const say = (state, words) => {
  document.body.dataset.state = state;
  document.getElementById("state").textContent = words;
};

async function main() {
  const { AutoModelForTokenClassification, AutoTokenizer, env } = await import(
    at("node_modules/@huggingface/transformers/dist/transformers.web.js")
  );
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = new URL("models/", location.href).pathname; // an address would count as remote
  env.useBrowserCache = false;
  env.backends.onnx.wasm.wasmPaths = at("node_modules/onnxruntime-web/dist/");

  const started = performance.now();
  const tokenizer = await AutoTokenizer.from_pretrained(name);
  const model = await AutoModelForTokenClassification.from_pretrained(name, { dtype, device: "wasm" });
  const loaded = Math.round(performance.now() - started);

  // A word has the label of its first token, as in training.
  async function tag() {
    const words = page.text.value.split(/\s+/).filter(Boolean);
    const lengths = words.map((_, last) => tokenizer.encode(words.slice(0, last + 1).join(" ")).length);
    const begun = performance.now();
    const { logits } = await model(await tokenizer(words.join(" "), { truncation: true }));
    const took = Math.round(performance.now() - begun);
    const rows = logits.tolist()[0];
    const best = rows.map((row) => row.indexOf(Math.max(...row)));
    page.found.replaceChildren();
    words.forEach((word, index) => {
      const first = index === 0 ? 1 : lengths[index - 1] - 1; // the special tokens are one before and one after
      const span = document.createElement("span");
      span.className = "word";
      span.dataset.label = model.config.id2label[best[first] ?? 0];
      span.textContent = word;
      page.found.append(span, " ");
    });
    say("done", `${dtype}: loaded in ${loaded} ms, tagged ${words.length} words in ${took} ms`);
  }

  const button = document.getElementById("tag");
  button.addEventListener("click", tag);
  button.disabled = false;
  await tag();
}

main().catch((error) => say("failed", `${error}`));
