"""`wsss-lightning completion`: the TAB key completes verbs, options, overrides and files.

The shell calls the command itself with the line typed so far; `complete` answers. argcomplete reads
and quotes the line as each shell does.
"""

import argparse
import importlib
import os
from collections.abc import Sequence
from typing import Final

from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.cli.verbs import DEFAULT, PROGRAM, VERBS

SHELLS: Final = ("bash", "zsh", "fish")
DESCRIPTION = """
Print a script that lets the TAB key complete verbs, options, configuration groups, keys, their
values and files. Load it when a shell starts:

bash: add  eval "$(wsss-lightning completion bash)"  to ~/.bashrc

zsh: add  eval "$(wsss-lightning completion zsh)"  to ~/.zshrc, after compinit

fish: wsss-lightning completion fish > ~/.config/fish/completions/wsss-lightning.fish
"""


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = verb_parser("completion", DESCRIPTION)
    made.add_argument("shell", choices=SHELLS, help="the shell that will run the script")
    return made


def main(arguments: Sequence[str]) -> None:
    """Print the script of a shell."""
    from argcomplete.shell_integration import shellcode

    shell = parser().parse_args(arguments).shell
    # without `-o default`, which would offer files where a verb or a key is expected
    print(shellcode([PROGRAM], use_defaults=False, shell=shell))


def complete() -> None:
    """Answer the shell, which passes the line in environment variables; exits."""
    from argcomplete.completers import FilesCompleter
    from argcomplete.finders import CompletionFinder
    from argcomplete.lexers import split_line

    *_, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    verb = DEFAULT
    if len(words) > 1 and words[1] in (*VERBS, "help"):
        verb = words[1]
        os.environ["_ARGCOMPLETE"] = "2"  # the verb takes the place of the program's name
    finder = CompletionFinder()
    finder(_parser_of(verb), always_complete_options=False, default_completer=FilesCompleter())


def _parser_of(verb: str) -> argparse.ArgumentParser:
    if verb == "help":
        made = verb_parser("help", "")
        made.add_argument("verb", choices=[*VERBS])
        return made
    return importlib.import_module(VERBS[verb].module).parser()
