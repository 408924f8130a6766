"""The network: names, shapes, and what published weights look like."""

import pytest
import torch

from train.network.resnet import ResNet18, load_encoder, round_to_storage


def test_names_and_size_are_those_of_the_usual_resnet18() -> None:
    network = ResNet18(in_channels=3, num_classes=1000)
    names = set(network.state_dict()) - {"film.weight"}
    assert len(names) == 122
    assert {"conv1.weight", "layer1.0.bn2.running_var", "layer4.0.downsample.1.bias", "fc.bias"} <= names
    parameters = sum(p.numel() for p in network.parameters()) - network.film.weight.numel()
    assert parameters == 11_689_512  # torchvision's resnet18


def test_maps_have_strides_4_to_32_and_the_head_adds_the_whole_film_to_its_cells() -> None:
    network = ResNet18(num_classes=2).eval()
    x = torch.randn(2, 1, 96, 64)
    maps = network.features(x)
    assert [tuple(m.shape) for m in maps] == [
        (2, 64, 24, 16), (2, 128, 12, 8), (2, 256, 6, 4), (2, 512, 3, 2),
    ]  # fmt: skip
    cells = torch.einsum("nchw,kc->nkhw", maps[-1], network.fc.weight)
    whole = maps[-1].mean((2, 3)) @ network.film.weight.T
    logits = cells.exp().mean((2, 3)).log() + whole + network.fc.bias
    torch.testing.assert_close(network(x), logits)
    torch.testing.assert_close(network.evidence(maps[-1]), cells + whole[:, :, None, None])


def test_three_channel_weights_give_the_same_features_for_grey_films() -> None:
    torch.manual_seed(0)
    published, ours = ResNet18(in_channels=3, num_classes=1000).eval(), ResNet18().eval()
    load_encoder(ours, published.state_dict())
    x = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(ours.embed(x), published.embed(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


def test_foreign_weights_are_refused() -> None:
    weights = ResNet18().state_dict()
    del weights["layer3.1.conv2.weight"]
    with pytest.raises(ValueError, match=r"layer3\.1\.conv2\.weight"):
        load_encoder(ResNet18(), weights)


def test_rounding_leaves_normalisation_alone() -> None:
    network = ResNet18()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    round_to_storage(network)
    after = network.state_dict()
    assert torch.equal(after["layer1.0.conv1.weight"], before["layer1.0.conv1.weight"].half().float())
    assert torch.equal(after["fc.weight"], before["fc.weight"].half().float())
    assert torch.equal(after["bn1.running_var"], before["bn1.running_var"])
