"""Portable models: one .safetensors file with the weights and all that their use needs.

    from wsss_lightning.predict.model_file import load

    model = load("runs/cam")
    logits = model(image)  # (b 3 H W) in [0, 1]

A file is read without running code in it: it holds tensors and one JSON text, and the classes that
the JSON names must be networks of this package or of packages in WSSS_ALLOW.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from wsss_lightning.cache.code_digest import targets_in
from wsss_lightning.config.targets import allowed_packages, check_targets
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.segmentation.module import Segmenter
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.weights import misfits, shapes_of
from wsss_lightning.predict.devices import device_of
from wsss_lightning.predict.model_card import model_card
from wsss_lightning.predict.model_info import METADATA, ModelInfo, from_json, to_json
from wsss_lightning.predict.run_models import NETWORKS, describe, open_run, trainings
from wsss_lightning.predict.trained_model import KINDS, TrainedModel
from wsss_lightning.results.schema import FILE_NAME, Results
from wsss_lightning.results.stages import stage_folder
from wsss_lightning.steps.config_nodes import remove_weights
from wsss_lightning.steps.train import load as load_stage
from wsss_lightning.steps.train import restore
from wsss_lightning.utils.files import write_atomically, write_text

__all__ = ["ModelInfo", "TrainedModel", "load", "save_model"]

MODEL: Final = "model.safetensors"
CARD: Final = "README.md"
MODELS: Final = "models"  # folder of a run


def save_model(folder: Path, module: Segmenter | TagMethod, info: ModelInfo) -> Path:
    """Write a portable model and its model card, each atomically.

    Args:
        folder: to write `model.safetensors` and `README.md` to.
        module: the trained module.
        info: its description.

    Returns:
        The path of the model.

    Raises:
        InputError: the state of the module holds something other than tensors.
    """
    tensors = {}
    for key, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"{type(module).__name__} stores {key}, a {type(value).__name__}, but a portable "
                "model holds tensors only; register it as a buffer, leave it out of state_dict, or "
                "run with save_models=false"
            )
        # tensors that share memory are written once each
        tensors[key] = value.detach().cpu().contiguous().clone()
    content = save(tensors, {METADATA: to_json(info)})
    path = folder / MODEL
    write_atomically(path, lambda file: file.write(content))
    write_text(folder / CARD, model_card(info))
    return path


def load(path: str | Path, network: str | None = None, device: str = "cpu") -> TrainedModel:
    """Load a trained network in evaluation mode.

    Args:
        path: a run's folder, the folder of a model, or its .safetensors file. Runs of earlier
            versions, which left no models, are read from their stages.
        network: `segmentation` or `classifier`, of a run that has both; None: the segmentation
            network, or the classifier where there is none.
        device: `auto`, `cpu`, `cuda`, ...

    Raises:
        InputError: there is no such model or device, or the file is damaged, of a newer version or
            no portable model.
    """
    if network is not None and network not in NETWORKS:
        raise InputError(
            f"network is {network}, but must be one of {', '.join(NETWORKS)}; "
            f"{did_you_mean(network, NETWORKS)}"
        )
    place, where = device_of(device), Path(path).expanduser()
    if where.is_file():
        model = read_model(where)
    elif (where / MODEL).is_file():
        model = read_model(where / MODEL)
    elif where.is_dir():
        model = _of_run(where, network)
    else:
        raise InputError(
            f"{where} does not exist; give the folder of a finished run, such as runs/cam, or a "
            f"{MODEL}."
        )
    task = {"segmentation": "segmentation", "classifier": "classification", None: model.info.task}
    if task[network] != model.info.task:
        raise InputError(f"{where} is a model for {model.info.task}, but network is {network}.")
    return model.to(place).eval()


def read_model(path: Path) -> TrainedModel:
    """Read a portable model onto the CPU.

    Raises:
        InputError: as in `load`.
    """
    info, state = read_file(path)
    node = OmegaConf.create(info.module)
    check_module(node, info.task, path)
    remove_weights(node)  # a file from elsewhere may name files of this machine
    with _built(path, info):
        module = instantiate(node)
    fault = misfits(state, shapes_of(module), set(state) - set(shapes_of(module)))
    if fault:
        raise InputError(
            f"the weights of {path} do not fit its network: {fault}. The file is damaged, or code "
            f"of the network has changed since; it was made with {_versions(info)}."
        )
    module.load_state_dict(state, strict=False)  # only counters of batches may be missing
    return TrainedModel(module, info).eval()


def read_file(path: Path) -> tuple[ModelInfo, dict[str, Tensor]]:
    """Description and weights of a portable model, without building its network.

    Raises:
        InputError: the file is missing, damaged, of a newer format, or no portable model.
    """
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} is no portable model, which ends in .safetensors; give the folder of a run, "
            f"or its {MODELS}/segmentation/{MODEL}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA)
            if text is None:
                raise InputError(
                    f"{path} holds weights without a description of their network; give a {MODEL} "
                    "that a run wrote. Initial weights belong to backbone.weights."
                )
            info = from_json(text, path)
            return info, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be read as a model ({error}); copy it again, or repeat the run that "
            "wrote it."
        ) from error


def save_models(folder: Path, cfg: DictConfig, results: Results) -> list[Path]:
    """Write the portable models of a run below `models/`, and remove those of other networks.

    Args:
        folder: folder of the run, with links to its stages.
        cfg: composed configuration.
        results: results of the run.

    Returns:
        Paths of the models.
    """
    stages = trainings(results)
    for network in NETWORKS:
        if network not in stages:  # of an earlier command with the same folder
            for name in (MODEL, CARD):
                (folder / MODELS / network / name).unlink(missing_ok=True)
    paths = []
    for network, stage in stages.items():
        trained = stage_folder(folder, stage)
        info = describe(network, trained, cfg, results)
        paths.append(save_model(folder / MODELS / network, load_stage(trained), info))
    return paths


def _of_run(folder: Path, network: str | None) -> TrainedModel:
    """Model of a run: from `models/`, or converted from the stages of an earlier version."""
    home = folder if folder.name == MODELS else folder / MODELS
    for name in NETWORKS if network is None else (network,):
        if (home / name / MODEL).is_file():
            return read_model(home / name / MODEL)
    present = [name for name in NETWORKS if (home / name / MODEL).is_file()]
    if present:
        raise InputError(f"{folder} has no {network}, but {', '.join(present)}.")
    if not (folder / FILE_NAME).is_file():
        raise InputError(
            f"{folder} holds neither {FILE_NAME} nor {MODEL}; give the folder of a finished run, "
            "such as runs/cam, or that of a model."
        )
    cfg, results = open_run(folder)
    stages = trainings(results)
    name = network or next(iter(sorted(stages, key=NETWORKS.index)), "network")
    if name not in stages:
        trained = ", ".join(stages) or "no network"
        raise InputError(f"{folder} has no {name}; its run trained {trained}.")
    stage = stage_folder(folder, stages[name])
    if not (stage / "last.ckpt").is_file():
        raise InputError(
            f"{stage}, which holds the weights of the {name}, is missing; repeat the run."
        )
    try:
        info = describe(name, stage, cfg, results)
    except OmegaConfBaseException as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{folder}/hydra/config.yaml, the configuration of a run of another version, lacks a "
            f"key ({reason}); repeat the run with this version."
        ) from error
    node = OmegaConf.create(info.module)
    check_module(node, info.task, stage)
    with _built(stage, info):
        module = restore(node, stage / "last.ckpt")
    return TrainedModel(module, info).eval()


def check_module(node: Any, task: str, path: Path) -> None:
    """Check that a module's node builds networks only, and a module for the task.

    Args:
        node: configuration node of the module.
        task: `segmentation` or `classification`.
        path: file that holds it, for messages.

    Raises:
        InputError: a class is not allowed, does not exist, or is none of these.
    """
    try:
        check_targets(OmegaConf.create({"module": node}))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    own = tuple(f"{package}." for package in allowed_packages())
    for target in targets_in(node):
        made = get_object(target)
        is_network = isinstance(made, type) and issubclass(
            made, (nn.Module, torch.optim.Optimizer, Backbone)
        )
        if not is_network and not target.startswith(own or ("\0",)):
            raise InputError(
                f"{path}: {target} is no network, layer or optimiser, the classes that a model may "
                "build."
            )
    kind = get_object(node["_target_"])
    if not (isinstance(kind, type) and issubclass(kind, KINDS[task])):
        raise InputError(
            f"{path}: module._target_ is {node['_target_']}, which is no {KINDS[task].__name__}, "
            f"as a model for {task} needs."
        )


@contextmanager
def _built(path: Path, info: ModelInfo) -> Iterator[None]:
    """Turn what libraries raise, exceptions of many types, into an `InputError`."""
    try:
        yield
    except Exception as error:
        raise InputError(
            f"the network of {path} cannot be built with the installed versions ({error}); it was "
            f"made with {_versions(info)}."
        ) from error


def _versions(info: ModelInfo) -> str:
    versions = info.provenance.get("versions")
    if not isinstance(versions, dict) or not versions:
        return "unknown versions"
    return ", ".join(f"{name} {version}" for name, version in versions.items())
