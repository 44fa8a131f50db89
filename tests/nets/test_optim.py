import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from wsss_lightning.nets.optim import freeze_batch_norm, parameter_groups, polynomial


class Net(nn.Module):
    """A backbone, two heads, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1, bias=False)
        )
        self.head = nn.Conv2d(5, 2, 1)
        self.other = nn.Linear(5, 2, bias=False)
        self.temperature = nn.Parameter(torch.ones(()))


def test_biases_and_heads_learn_faster_and_biases_do_not_decay():
    net = Net()
    groups = parameter_groups(net, net.encoder, 0.01, 5e-4, 10, 2, False)
    rates = [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups]
    expected = [(0.01, 5e-4, 3), (0.02, 0.0, 2), (0.1, 5e-4, 3), (0.2, 0.0, 1)]
    for found, wanted in zip(rates, expected, strict=True):
        assert found == pytest.approx(wanted)


def test_biases_can_learn_and_decay_as_weights_do():  # IRN
    net = Net()
    groups = parameter_groups(net, net.encoder, 0.1, 1e-4, 10, 1, True)
    rates = {(round(group["lr"], 9), group["weight_decay"]) for group in groups}
    assert rates == {(0.1, 1e-4), (1.0, 1e-4)}


def test_every_parameter_is_in_exactly_one_group():
    net = Net()
    grouped = [
        id(p)
        for g in parameter_groups(net, net.encoder, 0.1, 0.1, 3, 2, False)
        for p in g["params"]
    ]
    assert len(set(grouped)) == len(grouped)
    assert set(grouped) == {id(p) for p in net.parameters()}


def test_the_backbone_is_known_by_its_parameters_wherever_it_stands():
    net = Net()
    groups = parameter_groups(nn.ModuleList([net]), net.encoder, 0.01, 5e-4, 10, 2, False)
    slow = {id(p) for group in groups[:2] for p in group["params"]}
    assert slow == {id(p) for p in net.encoder.parameters()}


def test_frozen_parameters_and_empty_groups_are_left_out():
    net = Net().requires_grad_(False)
    for part in (net.encoder[0], net.other):
        part.weight.requires_grad_(True)
    groups = parameter_groups(net, net.encoder, 0.1, 0.1, 3, 2, False)
    assert [[id(p) for p in group["params"]] for group in groups] == [
        [id(net.encoder[0].weight)],
        [id(net.other.weight)],
    ]


@given(total=st.integers(1, 60), power=st.floats(0.5, 2), lr=st.floats(1e-4, 1))
def test_the_rate_follows_the_polynomial(total, power, lr):  # closed form
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": f * lr} for f in (1, 10)]
    optimizer = SGD(groups)
    schedule = polynomial(optimizer, total, power)
    for t in range(total + 3):
        left = max(0.0, 1 - t / total) ** power
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([lr * left, 10 * lr * left], rel=1e-6, abs=1e-12)
        optimizer.step()
        schedule.step()


def test_a_schedule_goes_on_where_it_stopped():
    def fresh():
        optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        return optimizer, polynomial(optimizer, 10, 0.9)

    def step(optimizer, schedule, times):
        for _ in range(times):
            optimizer.step()
            schedule.step()
        return optimizer.param_groups[0]["lr"]

    whole = step(*fresh(), 7)
    first = fresh()
    step(*first, 3)
    second = fresh()
    for part, state in zip(second, [part.state_dict() for part in first], strict=True):
        part.load_state_dict(state)
    assert step(*second, 4) == pytest.approx(whole)


def test_frozen_batch_norms_use_their_statistics_and_keep_them():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.BatchNorm1d(6))
    net.train()
    freeze_batch_norm(net)
    assert [part.training for part in net] == [True, False, True, False]
    before = net[1].running_mean.clone()
    out = net[1](5 + torch.randn(2, 4, 6, 6))
    assert torch.equal(net[1].running_mean, before)
    assert out.mean().item() > 4
    out.sum().backward()
    assert net[1].weight.grad is not None  # scale and shift still learn
