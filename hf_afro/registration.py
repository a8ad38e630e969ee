"""Registers the students with transformers' Auto classes when those are imported, and imports none of it itself.

Importing the Auto classes takes seconds, so `import hf_afro` only watches for it. Nor can the work be done right
when an Auto module is ready: transformers' modules import each other in circles (`modeling_xlm_roberta` imports
`modeling_layers`, which imports `modeling_auto`), and half of what the students need may still be in the making.
So the watch counts how deep in imports of transformers a thread is, and registers when it comes out of the last one:
inside the import statement that brought the Auto classes in, before its caller goes on.
"""

from __future__ import annotations

import sys
from importlib import import_module
from threading import local
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_CONFIGURATION = "hf_afro.students.configuration_afro_student"
_MODELING = "hf_afro.students.modeling_afro_student"
_AUTO = "transformers.models.auto"

MODEL_FOR = {
    "AutoModel": "AfroStudentModel",
    "AutoModelForMaskedLM": "AfroStudentForMaskedLM",
    "AutoModelForMultipleChoice": "AfroStudentForMultipleChoice",
    "AutoModelForPreTraining": "AfroStudentForMaskedLM",
    "AutoModelForQuestionAnswering": "AfroStudentForQuestionAnswering",
    "AutoModelForSequenceClassification": "AfroStudentForSequenceClassification",
    "AutoModelForTextEncoding": "AfroStudentModel",
    "AutoModelForTokenClassification": "AfroStudentForTokenClassification",
}


class _LoadedAtFirstUse(type):
    """Stands in for a model class until it is used, so that loading a tokenizer does not load the models."""

    def __getattr__(cls, name: str) -> Any:
        return getattr(getattr(import_module(_MODELING), cls.__name__), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(_MODELING), cls.__name__)(*args, **kwargs)


def _register_configuration() -> None:
    config_class = import_module(_CONFIGURATION).AfroStudentConfig
    auto_config = import_module(f"{_AUTO}.configuration_auto").AutoConfig
    auto_config.register(config_class.model_type, config_class, exist_ok=True)


def _register_models() -> None:
    config_class = import_module(_CONFIGURATION).AfroStudentConfig
    auto = import_module(f"{_AUTO}.modeling_auto")
    loaded = sys.modules.get(_MODELING)
    for auto_name, name in MODEL_FOR.items():
        stand_in = _LoadedAtFirstUse(name, (), {"__module__": _MODELING, "config_class": config_class})
        getattr(auto, auto_name).register(config_class, getattr(loaded, name, stand_in), exist_ok=True)


def _register_tokenizer() -> None:
    config_class = import_module(_CONFIGURATION).AfroStudentConfig
    auto_tokenizer = import_module(f"{_AUTO}.tokenization_auto").AutoTokenizer
    tokenizer = import_module("transformers.models.xlm_roberta.tokenization_xlm_roberta").XLMRobertaTokenizer
    auto_tokenizer.register(config_class, tokenizer_class=tokenizer, exist_ok=True)


class _ImportWatch:
    """Finds modules as the finders after it do, and counts those of transformers and hf_afro in and out.

    Attributes:
        to_do: What to call once a module is there, by the module's name; empty when all is registered.
    """

    def __init__(self) -> None:
        self.to_do: dict[str, Callable[[], None]] = {
            f"{_AUTO}.configuration_auto": _register_configuration,
            f"{_AUTO}.modeling_auto": _register_models,
            f"{_AUTO}.tokenization_auto": _register_tokenizer,
            _MODELING: _register_models,  # the classes themselves take the place of those that stood in for them
        }
        self._thread = local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(("transformers", "hf_afro")):
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    self._count(spec.loader)
                return spec
        return None

    def _count(self, loader: Any) -> None:
        def exec_module(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            depth = getattr(self._thread, "depth", 0)
            self._thread.depth = depth + 1
            try:
                loader.exec_module(module)
            finally:
                self._thread.depth = depth
            if depth == 0:
                self.register_arrived()

        loader.exec_module = exec_module

    def register_arrived(self) -> None:
        """Do what the modules that are there allow to be done; after the last of it, stop watching."""
        for name in [name for name in self.to_do if name in sys.modules]:
            action = self.to_do.pop(name, None)  # taken out first: what it imports leads back here
            if action is None:
                continue
            try:
                action()
            except BaseException:
                self.to_do[name] = action  # the import fails with our error, and the next one tries again
                raise
        if not self.to_do and self in sys.meta_path:
            sys.meta_path.remove(self)


_watch = _ImportWatch()


def register_when_imported() -> None:
    """Register the students with the Auto classes, now where these are loaded, else as soon as they are.

    Covers `AutoConfig`, `AutoTokenizer` (XLM-R's tokenizer, for folders that do not name one) and the Auto models
    of every head the students have. Calling it again changes nothing. A thread that uses an Auto class while another
    thread is still inside the import statement that loads it may come before the registration.
    """
    if _watch.to_do and _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)
        _watch.register_arrived()
