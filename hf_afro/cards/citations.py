"""Methods and evaluation sets that a card may name, each with a description and its citation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Citation:
    """A citation.

    Attributes:
        what: A description of the method or set, without a full stop.
        key: The key of the BibTeX entry.
        kind: The type of the BibTeX entry.
        fields: The fields of the BibTeX entry, in order.
    """

    what: str
    key: str
    kind: str
    fields: tuple[tuple[str, str], ...]

    @property
    def bibtex(self) -> str:
        """The BibTeX entry."""
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in self.fields)
        return f"@{self.kind}{{{self.key},\n{lines}\n}}"


def _cite(what: str, key: str, kind: str, **fields: str) -> Citation:
    return Citation(what, key, kind, tuple(fields.items()))


METHODS: dict[str, Citation] = {
    "pruning": _cite(
        "vocabulary pruning: the vocabulary was cut to the tokens of the languages, whose embeddings are unchanged",
        "abdaoui-etal-2020-load",
        "inproceedings",
        title="Load What You Need: Smaller Versions of Multilingual {BERT}",
        author="Abdaoui, Amine and Pradel, Camille and Sigel, Gr{\\'e}goire",
        booktitle="Proceedings of SustaiNLP: Workshop on Simple and Efficient Natural Language Processing",
        year="2020",
        url="https://aclanthology.org/2020.sustainlp-1.16",
    ),
    "maft": _cite(
        "multilingual adaptive fine-tuning: masked-language-model training was continued on text of all languages "
        "together",
        "alabi-etal-2022-adapting",
        "inproceedings",
        title="Adapting Pre-trained Language Models to {A}frican Languages via Multilingual Adaptive Fine-Tuning",
        author="Alabi, Jesujoba O. and Adelani, David Ifeoluwa and Mosbach, Marius and Klakow, Dietrich",
        booktitle="Proceedings of the 29th International Conference on Computational Linguistics",
        year="2022",
        eprint="2204.06487",
        archiveprefix="arXiv",
    ),
    "hidden_states": _cite(
        "distillation of hidden states: the student learned the teacher's hidden states, token by token",
        "jiao-etal-2020-tinybert",
        "inproceedings",
        title="{T}iny{BERT}: Distilling {BERT} for Natural Language Understanding",
        author="Jiao, Xiaoqi and Yin, Yichun and Shang, Lifeng and Jiang, Xin and Chen, Xiao and Li, Linlin and "
        "Wang, Fang and Liu, Qun",
        booktitle="Findings of the Association for Computational Linguistics: EMNLP 2020",
        year="2020",
        url="https://aclanthology.org/2020.findings-emnlp.372",
    ),
    "sentence_vectors": _cite(
        "distillation of sentence vectors: the student learned the teacher's vector of each sentence, the mean over "
        "its tokens",
        "vujanic-2025-leaf",
        "misc",
        title="{LEAF}: Knowledge Distillation of Text Embedding Models with Teacher-Aligned Representations",
        author="Vujanic, Robin and Rueckstiess, Thomas",
        year="2025",
        eprint="2509.12539",
        archiveprefix="arXiv",
    ),
    "minilmv2": _cite(
        "distillation of self-attention relations: the student learned the query, key and value relations of one "
        "layer of the teacher",
        "wang-etal-2021-minilmv2",
        "inproceedings",
        title="{M}ini{LM}v2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained Transformers",
        author="Wang, Wenhui and Bao, Hangbo and Huang, Shaohan and Dong, Li and Wei, Furu",
        booktitle="Findings of the Association for Computational Linguistics: ACL-IJCNLP 2021",
        year="2021",
        url="https://aclanthology.org/2021.findings-acl.188",
    ),
    "minilm": _cite(
        "distillation of self-attention: the student learned the attention distributions and value relations of the "
        "last layer of the teacher",
        "wang-etal-2020-minilm",
        "inproceedings",
        title="{M}ini{LM}: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers",
        author="Wang, Wenhui and Wei, Furu and Dong, Li and Bao, Hangbo and Yang, Nan and Zhou, Ming",
        booktitle="Advances in Neural Information Processing Systems",
        year="2020",
        eprint="2002.10957",
        archiveprefix="arXiv",
    ),
    "comet": _cite(
        "hybrid distillation: the student learned the predictions and the attention of the teacher",
        "raju-etal-2025-comet",
        "misc",
        title="{A}fro{XLMR}-{C}omet: Multilingual Knowledge Distillation with Attention Matching for Low-Resource "
        "languages",
        author="Raju, Joshua Sakthivel and S, Sanjay and Walia, Jaskaran Singh and Raghav, Srinivas and "
        "Marivate, Vukosi",
        year="2025",
        eprint="2502.18020",
        archiveprefix="arXiv",
    ),
}

EVALUATION_SETS: dict[str, Citation] = {
    "masakhaner1": _cite(
        "named entities in news",
        "adelani-etal-2021-masakhaner",
        "article",
        title="{M}asakha{NER}: Named Entity Recognition for {A}frican Languages",
        author="Adelani, David Ifeoluwa and others",
        journal="Transactions of the Association for Computational Linguistics",
        volume="9",
        pages="1116--1131",
        year="2021",
        doi="10.1162/tacl_a_00416",
    ),
    "masakhaner2": _cite(
        "named entities in news",
        "adelani-etal-2022-masakhaner",
        "inproceedings",
        title="{M}asakha{NER} 2.0: {A}frica-centric Transfer Learning for Named Entity Recognition",
        author="Adelani, David Ifeoluwa and others",
        booktitle="Proceedings of the 2022 Conference on Empirical Methods in Natural Language Processing",
        year="2022",
        url="https://aclanthology.org/2022.emnlp-main.298",
    ),
    "masakhanews": _cite(
        "topics of news",
        "adelani-etal-2023-masakhanews",
        "inproceedings",
        title="{M}asakha{NEWS}: News Topic Classification for {A}frican languages",
        author="Adelani, David Ifeoluwa and others",
        booktitle="Proceedings of IJCNLP-AACL 2023",
        year="2023",
        url="https://aclanthology.org/2023.ijcnlp-main.10",
    ),
    "afrisenti": _cite(
        "sentiment of tweets",
        "muhammad-etal-2023-afrisenti",
        "inproceedings",
        title="{A}fri{S}enti: A {T}witter Sentiment Analysis Benchmark for {A}frican Languages",
        author="Muhammad, Shamsuddeen Hassan and others",
        booktitle="Proceedings of the 2023 Conference on Empirical Methods in Natural Language Processing",
        year="2023",
        url="https://aclanthology.org/2023.emnlp-main.862",
    ),
    "afrihate": _cite(
        "hate speech in tweets",
        "muhammad-etal-2025-afrihate",
        "article",
        title="{A}fri{H}ate: A Multilingual Collection of Hate Speech and Abusive Language Datasets for {A}frican "
        "Languages",
        author="Muhammad, Shamsuddeen Hassan and others",
        journal="arXiv preprint arXiv:2501.08284",
        year="2025",
        url="https://arxiv.org/abs/2501.08284",
    ),
    "injongo": _cite(
        "intents and slots",
        "yu-etal-2025-injongo",
        "inproceedings",
        title="{INJONGO}: A Multicultural Intent Detection and Slot-filling Dataset for 16 {A}frican Languages",
        author="Yu, Hao and others",
        booktitle="Proceedings of the 63rd Annual Meeting of the Association for Computational Linguistics",
        year="2025",
        url="https://aclanthology.org/2025.acl-long.464",
    ),
    "brighter": _cite(
        "emotions in text",
        "muhammad-etal-2025-brighter",
        "article",
        title="{BRIGHTER}: {BRI}dging the {G}ap in {H}uman-Annotated {T}extual {E}motion {R}ecognition Datasets for "
        "28 Languages",
        author="Muhammad, Shamsuddeen Hassan and others",
        journal="arXiv preprint arXiv:2502.11926",
        year="2025",
        url="https://arxiv.org/abs/2502.11926",
    ),
    "semrel": _cite(
        "semantic relatedness of sentences",
        "ousidhoum-etal-2024-semrel2024",
        "article",
        title="{S}em{R}el2024: A Collection of Semantic Textual Relatedness Datasets for 13 Languages",
        author="Ousidhoum, Nedjma and others",
        journal="arXiv preprint arXiv:2402.08638",
        year="2024",
        url="https://arxiv.org/abs/2402.08638",
    ),
    "mafand": _cite(
        "translations of news",
        "adelani-etal-2022-thousand",
        "inproceedings",
        title="A Few Thousand Translations Go a Long Way! Leveraging Pre-trained Models for {A}frican News "
        "Translation",
        author="Adelani, David Ifeoluwa and others",
        booktitle="Proceedings of the 2022 Conference of the North American Chapter of the Association for "
        "Computational Linguistics: Human Language Technologies",
        year="2022",
        url="https://aclanthology.org/2022.naacl-main.223",
    ),
}
"""Keyed by the part of `Score.dataset` before the slash."""
