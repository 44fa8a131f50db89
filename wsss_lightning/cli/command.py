"""Runs a command: reads its arguments, composes the configuration, and reports errors."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Container, Iterable
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wsss_lightning.cli.config_files import check_files
from wsss_lightning.cli.error_messages import (
    check_overrides,
    check_sweep,
    explain_error,
    fail,
    repeated_keys,
)
from wsss_lightning.cli.handover import hand_over_folders
from wsss_lightning.cli.options import expand_user, user_config_dirs
from wsss_lightning.cli.overrides import (
    exists,
    expand_home,
    parsed,
    read_overrides,
    split_options,
)
from wsss_lightning.cli.run_names import announce_sweep
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.errors import InputError
from wsss_lightning.utils import interrupts
from wsss_lightning.utils.machine_errors import explain_machine_error

Work = Callable[[DictConfig], object]


def run_command(arguments: list[str], work: Work) -> None:
    """Compose a configuration and do the work with it; a user's error ends with exit code 1.

    Args:
        arguments: options and overrides, as typed.
        work: called with the configuration, once or for each job of a sweep.
    """
    # threads that spin while they wait block each other on busy or virtual cores: 5 times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # let Hydra raise its errors instead of printing them: their causes name the wrong override
    os.environ["HYDRA_FULL_ERROR"] = "1"
    existing = Path.cwd()
    try:
        check_overrides(arguments)
        options, overrides = split_options(arguments)
        check_files(user_config_dirs([*options, *overrides]))
        options, overrides = read_overrides(options, overrides)
        existing = check_output_dir(overrides)
        check_sweep(options, overrides)
        for note in repeated_keys(overrides):
            print(f"note: {note}", file=sys.stderr)
        # before jobs start, so that the same command finds the same folder
        announce_sweep(overrides)
        arguments = sys.argv[1:] = [*options, *overrides]
        with interrupts.watched():
            compose_and_run(partial(in_run_folder, work=work, existing=existing))
    except (InputError, HydraException, OmegaConfBaseException, YAMLError) as error:
        fail(report_sweep(existing) or explain_error(error, arguments))
    except (KeyboardInterrupt, interrupts.Interrupted):
        report_sweep(existing)
        interrupts.leave()
    except Exception as error:
        message = report_sweep(existing) or explain_machine_error(error)
        if not message:  # a defect of this package
            raise
        fail(message)
    else:
        message = report_sweep(existing)
        if message:  # some jobs failed, but fewer than the sweeper's max_failure_rate
            print(f"\n{message}", file=sys.stderr)


def compose_and_run(work: Work) -> None:
    """Have Hydra compose the configuration and call `work` with it."""

    def task(cfg: DictConfig) -> object:  # Hydra needs the file name of a function
        return work(cfg)

    hydra.main(config_path=str(conf_folder()), config_name="config", version_base="1.3")(task)()


def in_run_folder(cfg: DictConfig, work: Work, existing: Path) -> object:
    """Do the work; remove the run's folder if the work fails before it writes anything.

    Args:
        cfg: composed configuration.
        work: called with it.
        existing: this folder and its parents are never removed.
    """
    context = HydraConfig.get()
    expand_home(cfg)
    try:
        result = work(cfg)
        if context.mode != RunMode.MULTIRUN:
            hand_over_folders([Path(context.runtime.output_dir)])
        return result
    except BaseException:
        if context.mode != RunMode.MULTIRUN:  # a sweep's jobs keep a record of their failure
            folder = Path(context.runtime.output_dir)
            remove_unused(folder, existing, {str(context.output_subdir)})
        raise


def remove_unused(folder: Path, existing: Path, ignored: Container[str] = ()) -> None:
    """Remove a folder that holds only `ignored` entries, and its parents that become empty.

    Args:
        folder: below `existing`; any other folder is left alone.
        existing: this folder and its parents are never removed.
        ignored: names of entries.
    """
    if existing not in folder.parents or not folder.is_dir():
        return
    if any(path.name not in ignored for path in folder.iterdir()):
        return
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents:
        if parent == existing or existing not in parent.parents or any(parent.iterdir()):
            return
        parent.rmdir()


def check_output_dir(overrides: Iterable[str]) -> Path:
    """Check that runs can be written to `output_dir`.

    Returns:
        The nearest folder that exists.

    Raises:
        InputError: no folder can be made there.
    """
    values = [parsed(one) for one in overrides if one.lstrip("+").startswith("output_dir=")]
    value = values[-1] if values else "runs"
    text = value.text if isinstance(value, QuotedString) else value
    if not isinstance(text, str) or ("${" in text and not exists(text)):  # a sweep or reference
        return Path.cwd()
    if not text.strip():
        raise InputError("output_dir is empty; give the folder of all runs, as in output_dir=DIR.")
    folder = Path(expand_user(text)).absolute()
    if "${" in str(folder):
        raise InputError(
            f"output_dir is {folder}, but ${{ begins a reference in the configuration; rename the "
            "folder, or start from another folder and give output_dir=DIR."
        )
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if nearest.is_dir():
            with tempfile.TemporaryDirectory(dir=nearest):
                return nearest
        cause = f"{nearest} is a file"
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
    raise InputError(
        f"output_dir is {folder}, but no folder can be made there ({cause}); choose another with "
        "output_dir=DIR."
    )


def report_sweep(existing: Path) -> str:
    """Print the jobs of the sweep that just ended, if there was one.

    Args:
        existing: as in `in_run_folder`; the folder of a sweep without jobs is removed.

    Returns:
        Which jobs failed and why; empty if none failed.
    """
    from wsss_lightning.cli.sweep import FAILED, Sweeps, print_jobs

    if Sweeps.folder is None:
        return ""
    folder, Sweeps.folder = Sweeps.folder, None
    remove_unused(folder, existing, {"multirun.yaml"})
    jobs = print_jobs(folder) if folder.is_dir() else []
    hand_over_folders(folder / job["name"] for job in jobs if job["state"] == "done")
    failed = [job for job in jobs if job["state"] in FAILED]
    if not failed:
        return ""
    causes = "\n".join(f"  job {job['number']}: {job['cause']}" for job in failed)
    return (
        f"{len(failed)} jobs of the sweep failed. Run the same command to repeat only those:\n"
        f"{causes}"
    )
