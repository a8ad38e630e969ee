"""Transformers.js reads an export: the same tokens as Python, and logits within the rounding of each graph."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, XLMRobertaForTokenClassification

import hf_afro
from hf_afro.export import export_onnx
from hf_afro.export.onnx import OnnxModel
from hf_afro.export.quantising import FORMATS
from tests.conftest import tiny_config
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import make
from tests.texts import SENTENCES

pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
pytest.importorskip("onnxscript", reason="needs the extra `onnx`")

LINES = [line for language in SENTENCES.values() for line in language[:2]]
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
DTYPES = {"fp32": "fp32", "fp16": "fp16", "int8": "q8", "int4": "q4"}
PAGE = Path(__file__).resolve().parents[2] / "examples" / "browser"
MODULES = "HF_AFRO_NODE_MODULES"


def node_modules() -> Path:
    """The folder that Transformers.js is installed in; the test is skipped where it is missing."""
    place = Path(os.environ.get(MODULES, ""))
    if not (place / "@huggingface" / "transformers").is_dir():
        pytest.skip(
            f"needs Transformers.js: set {MODULES} to a folder node_modules that has @huggingface/transformers"
        )
    return place.resolve()


@pytest.fixture(scope="module", params=["student", "pruned"])
def exported(request, _tokenizer, tmp_path_factory) -> Path:
    """A token classifier exported in every format: a student, and a pruned XLM-R."""
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {name: index for index, name in enumerate(LABELS)}}
    if request.param == "student":
        tokenizer = _tokenizer
        model = make("ForTokenClassification", student_config(len(tokenizer), unpad=True, **labels))
    else:
        torch.manual_seed(0)
        model = XLMRobertaForTokenClassification(tiny_config(len(_tokenizer), **labels)).eval()
        keep = hf_afro.select_tokens(hf_afro.count_tokens(SENTENCES, _tokenizer), budget=450)
        result = hf_afro.prune_vocabulary(model, _tokenizer, keep)
        model, tokenizer = result.model, result.tokenizer
    folder = tmp_path_factory.mktemp("site") / request.param
    export_onnx(model, tokenizer, folder, LINES, formats=list(FORMATS))
    return folder


def test_transformers_js_computes_what_onnx_runtime_does(exported, tmp_path):
    modules, node = node_modules(), shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    (tmp_path / "texts.json").write_text(json.dumps(LINES), "utf-8")
    script = Path(__file__).with_name("transformers_js.mjs")
    done = subprocess.run(
        [node, str(script), str(modules), str(exported), str(tmp_path / "texts.json")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert found["ids"] == [tokenizer(line)["input_ids"] for line in LINES]
    record = json.loads((exported / "export.json").read_text("utf-8"))["graphs"]
    config = AutoConfig.from_pretrained(exported)
    for name, dtype in DTYPES.items():
        graph = OnnxModel(exported / FORMATS[name], config)
        for line, logits in zip(LINES, found["logits"][dtype], strict=True):
            wanted = graph(**tokenizer(line, return_tensors="pt", truncation=True)).logits[0].numpy()
            difference = np.abs(np.array(logits) - wanted).max()
            assert difference <= max(1e-4, record[name]["difference"]), (name, line)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback interface, and give its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *given: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_page_tags_text_in_a_browser(exported, tmp_path):
    """Every word of the page's text is on the page with a label, from files of its own server alone."""
    modules = node_modules()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    site = tmp_path / "site"
    shutil.copytree(PAGE, site)
    (site / "models").mkdir()
    (site / "models" / "tagger").symlink_to(exported)
    (site / "node_modules").symlink_to(modules)
    with served(site) as address:
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *(
                    f"--user-data-dir={tmp_path / 'profile'}",
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                ),
                *("--timeout=60000", "--virtual-time-budget=60000", "--dump-dom", f"{address}/index.html"),
            ],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert 'data-state="done"' in done.stdout, done.stdout + done.stderr[-2000:]
    words = re.findall(r'<span class="word" data-label="([^"]*)">([^<]*)</span>', done.stdout)
    assert [word for _, word in words] == "Simba walisafiri kwenda Uganda jana.".split()
    assert {label for label, _ in words} <= set(LABELS)
