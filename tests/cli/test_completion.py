"""Completion in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wsss_lightning.cli.completion import SHELLS
from wsss_lightning.cli.verbs import VERBS

ROOT = Path(__file__).parents[2]
BASH = """
eval "$(wsss-lightning completion bash)"
for COMP_LINE in "${lines[@]}"; do
  COMP_POINT=${#COMP_LINE} COMPREPLY=()
  _python_argcomplete wsss-lightning
  printf '%s;' "${COMPREPLY[@]}"; echo
done
"""
FISH = "wsss-lightning completion fish | source\nfor line in $argv; complete -C$line; echo; end"
# completes in a terminal of its own, as zsh completes only there
ZSH = r"""
zmodload zsh/zpty
zpty shell 'PS1= zsh -f -i'
zpty -w shell 'autoload -U compinit; compinit -u -D; eval "$(wsss-lightning completion zsh)"'
zpty -w shell 'echo rea""dy'
zpty -r shell answer '*ready*'
zpty -w -n shell "$1"$'\t'
zpty -r -m shell answer "*$2*" && print -r -- "$answer"
zpty -d shell
"""


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """`shell(*command)`: what a shell prints that finds `wsss-lightning`."""
    program = tmp_path / "bin/wsss-lightning"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m wsss_lightning "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(*command: str) -> str:
        if shutil.which(command[0]) is None:
            pytest.skip(f"{command[0]} is not installed")
        run = subprocess.run(
            command,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.stderr == ""
        return run.stdout

    return call


def bash_completions(shell, *lines: str) -> list[set[str]]:
    script = "lines=(" + " ".join(f"'{line}'" for line in lines) + ")" + BASH
    printed = shell("bash", "--norc", "-c", script).splitlines()
    return [{one.strip() for one in line.split(";") if one} for line in printed]


def test_bash_completes_verbs_options_overrides_and_files(shell, tmp_path):
    (tmp_path / "photos of cats").mkdir()
    (tmp_path / "my_conf/data").mkdir(parents=True)
    (tmp_path / "my_conf/data/pets.yaml").write_text("# our pets\ndefaults: [voc_layout]\n")
    answers = {
        "": {"experiment=", *VERBS} - {"run"},
        "rep": {"report"},
        "help rec": {"recipes"},
        "experiment=sea": {"seam", "seam_small", "seam_voc2012"},
        "run experiment=cam,sea": {"cam,seam", "cam,seam_small", "cam,seam_voc2012"},
        "experiment=cam fit.method.max_": {"fit.method.max_epochs=", "fit.method.max_steps="},
        "experiment=cam +seeds.back": {"+seeds.background_power=", "+seeds.background_score="},
        "experiment=cam resume=": {"true", "false"},
        "experiment=cam seed=": {"0"},
        "experiment=cam refine=affinity seeds.background_p": {"seeds.background_power="},
        "experiment=cam data.root=photos": {"photos\\ of\\ cats/"},
        "experiment=cam --mul": {"--multirun"},
        "experiment=cam --cfg ": {"job", "hydra", "all"},
        "check-data --config-dir my_conf data=pe": {"pets"},
        "report phot": {"photos\\ of\\ cats/"},
        "report photos --ba": {"--baseline"},
        "recipes seam": {"seam_voc2012"},
        "completion z": {"zsh"},
    }
    found = bash_completions(shell, *(f"wsss-lightning {line}" for line in answers))
    assert dict(zip(answers, found, strict=True)) == answers


def test_fish_completes_with_descriptions(shell):
    lines = ("wsss-lightning rep", "wsss-lightning experiment=seam_s", "wsss-lightning report --ba")
    verb, experiment, option = shell("fish", "-N", "-c", FISH, *lines).strip().split("\n\n")
    assert verb == f"report\t{VERBS['report'].summary}"
    assert experiment.startswith("experiment=seam_small\tSEAM on a small set")
    assert option.startswith("--baseline\t")


def test_zsh_completes_with_descriptions(shell):
    summary = VERBS["import-coco"].summary
    assert "import-coco" in shell("zsh", "-f", "-c", ZSH, "zsh", "wsss-lightning ", summary)


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_of_every_shell_parses(shell, name):
    assert shell(name, "-c", f"wsss-lightning completion {name} > script; {name} -n script") == ""
