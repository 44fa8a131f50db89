"""The verbs of the command line: `wsss-lightning predict ...`.

A verb is a line of `VERBS`, and a module with two functions:

- `parser() -> argparse.ArgumentParser`, made by `verb_parser`, for help and completion;
- `main(arguments)`, which runs the command. Errors that the user can correct are raised as
  `InputError`.

Neither importing the module nor `parser` may import PyTorch, so that help, completion and errors in
the arguments appear at once: import whatever needs it inside `main`.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from wsss_lightning.errors import InputError, did_you_mean


class Verb(NamedTuple):
    """A command of its own.

    Attributes:
        module: module whose `main(arguments)` runs the command.
        summary: one line for `--help`.
    """

    module: str
    summary: str


PROGRAM: Final = "wsss-lightning"
DEFAULT: Final = "run"
"""The verb of arguments without a verb."""

VERBS: Final = {
    "run": Verb("wsss_lightning.cli.run", "train and evaluate; the word may be left out"),
    "predict": Verb("wsss_lightning.cli.predict", "masks of photos by a trained network"),
    "export": Verb("wsss_lightning.cli.export", "a trained network as ONNX or torch.export file"),
    "report": Verb("wsss_lightning.report.__main__", "compare finished runs on one HTML page"),
    "review": Verb(
        "wsss_lightning.review.__main__", "look at pseudo masks in a browser, and correct them"
    ),
    "check-data": Verb("wsss_lightning.cli.check_data_command", "list every problem of a data set"),
    "import-coco": Verb("wsss_lightning.cli.import_coco", "convert COCO to our layout"),
    "export-masks": Verb(
        "wsss_lightning.cli.export_masks", "write masks for COCO, YOLO, VOC, CVAT, labelme, ..."
    ),
    "import-masks": Verb(
        "wsss_lightning.cli.import_masks", "read masks that were corrected in a labelling tool"
    ),
    "import-weights": Verb(
        "wsss_lightning.cli.import_weights", "convert official weights of PSA, IRN or DeepLab"
    ),
    "recipes": Verb("wsss_lightning.recipes.__main__", "published settings and their sources"),
    "completion": Verb("wsss_lightning.cli.completion", "complete words in bash, zsh and fish"),
}


def split_verb(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The verb of a command line, and its arguments; options may stand before the verb.

    Raises:
        InputError: `help` is followed by a word that is no verb.
    """
    first, rest = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    if first in VERBS:
        return first, rest
    if first == "help":
        return _helped(rest), ["--help"]
    if first.startswith("-") and any(name in arguments for name in VERBS):
        from wsss_lightning.cli.overrides import split_options

        options, words = split_options(arguments)
        if words and words[0] in VERBS:
            return words[0], [*options, *words[1:]]
    return DEFAULT, list(arguments)


def _helped(words: Sequence[str]) -> str:
    """The verb that `help` is asked about."""
    name = words[0] if words else DEFAULT
    if name not in VERBS:
        raise InputError(f"help {name}: {name} is not a verb; {did_you_mean(name, VERBS)}")
    return name


def run_verb(name: str, arguments: Sequence[str]) -> None:
    """Run the command of a verb.

    Args:
        name: a key of `VERBS`.
        arguments: arguments that follow the verb.

    Raises:
        SystemExit: the user or the machine caused an error; it is printed, without a traceback.
    """
    importlib.import_module(VERBS[name].module).main(list(arguments))


def run_command_line(arguments: Sequence[str]) -> None:
    """Run a command line; print the errors that the user or the machine caused.

    Args:
        arguments: as typed, without the name of the program.

    Raises:
        SystemExit: there was such an error, with code 1.
    """
    from wsss_lightning.utils.machine_errors import explain_machine_error

    try:
        run_verb(*split_verb(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has what it needs
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except InputError as error:
        message = str(error)
    except Exception as error:
        explained = explain_machine_error(error)
        if not explained:  # a defect of this package
            raise
        message = explained
    else:
        return
    from wsss_lightning.cli.error_messages import fail

    fail(message)
