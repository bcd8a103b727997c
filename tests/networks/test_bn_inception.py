"""BN-Inception against the published checkpoint's list of layers, and its blocks by hand.

Forward passes in training and evaluation mode, running statistics included, were found equal to the bit to those of the
package pretrainedmodels 0.7.4, at 224, 227, 256 and 320 pixels.
"""

import pytest
import torch

from pfml.training.networks.bn_inception import BLOCKS, BNInception

# Name: output channels, input channels, kernel, as in bn_inception-52deb4733.pth. Each has a bias and a BatchNorm.
LAYERS = """
conv1_7x7_s2 64 3 7                        conv2_3x3_reduce 64 64 1                   conv2_3x3 192 64 3
inception_3a_1x1 64 192 1                  inception_3a_3x3_reduce 64 192 1           inception_3a_3x3 64 64 3
inception_3a_double_3x3_reduce 64 192 1    inception_3a_double_3x3_1 96 64 3          inception_3a_double_3x3_2 96 96 3
inception_3a_pool_proj 32 192 1            inception_3b_1x1 64 256 1                  inception_3b_3x3_reduce 64 256 1
inception_3b_3x3 96 64 3                   inception_3b_double_3x3_reduce 64 256 1    inception_3b_double_3x3_1 96 64 3
inception_3b_double_3x3_2 96 96 3          inception_3b_pool_proj 64 256 1            inception_3c_3x3_reduce 128 320 1
inception_3c_3x3 160 128 3                 inception_3c_double_3x3_reduce 64 320 1    inception_3c_double_3x3_1 96 64 3
inception_3c_double_3x3_2 96 96 3          inception_4a_1x1 224 576 1                 inception_4a_3x3_reduce 64 576 1
inception_4a_3x3 96 64 3                   inception_4a_double_3x3_reduce 96 576 1    inception_4a_double_3x3_1 128 96 3
inception_4a_double_3x3_2 128 128 3        inception_4a_pool_proj 128 576 1           inception_4b_1x1 192 576 1
inception_4b_3x3_reduce 96 576 1           inception_4b_3x3 128 96 3                  inception_4b_double_3x3_reduce 96 576 1
inception_4b_double_3x3_1 128 96 3         inception_4b_double_3x3_2 128 128 3        inception_4b_pool_proj 128 576 1
inception_4c_1x1 160 576 1                 inception_4c_3x3_reduce 128 576 1          inception_4c_3x3 160 128 3
inception_4c_double_3x3_reduce 128 576 1   inception_4c_double_3x3_1 160 128 3        inception_4c_double_3x3_2 160 160 3
inception_4c_pool_proj 128 576 1           inception_4d_1x1 96 608 1                  inception_4d_3x3_reduce 128 608 1
inception_4d_3x3 192 128 3                 inception_4d_double_3x3_reduce 160 608 1   inception_4d_double_3x3_1 192 160 3
inception_4d_double_3x3_2 192 192 3        inception_4d_pool_proj 128 608 1           inception_4e_3x3_reduce 128 608 1
inception_4e_3x3 192 128 3                 inception_4e_double_3x3_reduce 192 608 1   inception_4e_double_3x3_1 256 192 3
inception_4e_double_3x3_2 256 256 3        inception_5a_1x1 352 1056 1                inception_5a_3x3_reduce 192 1056 1
inception_5a_3x3 320 192 3                 inception_5a_double_3x3_reduce 160 1056 1  inception_5a_double_3x3_1 224 160 3
inception_5a_double_3x3_2 224 224 3        inception_5a_pool_proj 128 1056 1          inception_5b_1x1 352 1024 1
inception_5b_3x3_reduce 192 1024 1         inception_5b_3x3 320 192 3                 inception_5b_double_3x3_reduce 192 1024 1
inception_5b_double_3x3_1 224 192 3        inception_5b_double_3x3_2 224 224 3        inception_5b_pool_proj 128 1024 1
"""  # noqa: E501
FIELDS = LAYERS.split()
LAYERS = {name: tuple(map(int, sizes)) for name, *sizes in zip(*(FIELDS[i::4] for i in range(4)))}


@pytest.fixture
def network() -> BNInception:
    torch.manual_seed(0)
    return BNInception().eval()


def test_names_and_shapes_are_those_of_the_checkpoint(network):
    expected = {}
    for name, (after, before, size) in LAYERS.items():
        expected |= {f"{name}.weight": (after, before, size, size), f"{name}.bias": (after,)}
        expected |= {f"{name}_bn.{part}": (after,) for part in ("weight", "bias", "running_mean", "running_var")}
        expected[f"{name}_bn.num_batches_tracked"] = ()
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert len(LAYERS) == 69 and found == expected
    classifier = 1024 * 1000 + 1000
    assert sum(p.numel() for p in network.parameters()) + classifier == 11_295_240


@pytest.mark.parametrize("size, side", [(224, 7), (227, 7), (256, 8)])
def test_the_last_map_of_the_usual_sizes(network, size, side):
    with torch.inference_mode():
        assert network(torch.rand(1, 3, size, size)).shape == (1, 1024, side, side)


def test_every_block_has_the_channels_of_the_paper(network):
    x, channels = torch.rand(1, 192, 28, 28), []
    with torch.inference_mode():
        for block in BLOCKS:
            x = network.apply_block(x, block)
            channels.append(x.shape[1])
    assert channels == [256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024] and x.shape[2:] == (7, 7)


def constants(network: BNInception, values: dict[str, float]) -> None:
    """Each named layer gives its constant everywhere, whatever goes in."""
    for name, value in values.items():
        layer = network.get_submodule(f"{name}_bn")
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, value)


def test_the_branches_are_joined_in_the_order_of_the_checkpoint(network):
    ends = {"1x1": 1.0, "3x3": 2.0, "double_3x3_2": 3.0, "pool_proj": 4.0}
    constants(network, {f"inception_5b_{name}": value for name, value in ends.items()})
    found = network.apply_block(torch.rand(1, 1024, 2, 2), BLOCKS[-1])
    assert found[0, :, 0, 0].tolist() == [1.0] * 352 + [2.0] * 320 + [3.0] * 224 + [4.0] * 128
    constants(network, {"inception_4e_3x3": 2.0, "inception_4e_double_3x3_2": -3.0})  # ReLU: nothing below 0
    x = torch.arange(16.0).view(1, 1, 4, 4).expand(1, 608, 4, 4)
    found = network.apply_block(x, BLOCKS[7])
    assert found[0, :448, 0, 0].tolist() == [2.0] * 192 + [0.0] * 256
    assert found[0, 448:].unique(dim=0).tolist() == [[[10.0, 11.0], [14.0, 15.0]]]  # 3x3 windows, the last cut off


@pytest.mark.parametrize("block, expected", [("5a", 4 / 9), ("5b", 1.0)], ids=["average counts the border", "maximum"])
def test_the_pooled_branch(network, block, expected):
    """A corner of a map of ones: four pixels of nine are inside."""
    block = next(b for b in BLOCKS if b.name == block)
    name = f"inception_{block.name}_pool_proj"
    projection = network.get_submodule(name)
    torch.nn.init.zeros_(projection.weight)
    torch.nn.init.zeros_(projection.bias)
    torch.nn.init.ones_(projection.weight[:, 0])
    x = torch.ones(1, projection.in_channels, 7, 7)
    found = network.apply_block(x, block)[0, -128:]
    assert found[:, 0, 0].tolist() == pytest.approx([expected] * 128, abs=1e-4)
    assert found[:, 3, 3].tolist() == pytest.approx([1.0] * 128, abs=1e-4)


def test_sizes_that_do_not_halve_are_refused(network):
    with pytest.raises(
        ValueError, match=r"block 3c halves its map, found an odd one of \(25, 25\); expected images of"
    ):
        network(torch.zeros(1, 3, 200, 200))


def test_the_momentum_of_other_codes_can_be_had():
    assert BNInception().conv1_7x7_s2_bn.momentum == 0.1
    assert BNInception(bn_momentum=0.9).inception_5b_1x1_bn.momentum == 0.9
