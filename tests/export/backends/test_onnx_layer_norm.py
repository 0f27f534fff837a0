"""Layer norms in ONNX Runtime: as near to float64 as eager's, of every shape."""

import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim

from deploy_bias.export.backends.onnx_layer_norm import TRANSLATIONS

DYNAMIC = [{0: Dim.DYNAMIC, 1: Dim.DYNAMIC}]


def exported(module, x, dynamic_shapes=None):
    program = torch.onnx.export(
        module,
        (x,),
        dynamo=True,
        opset_version=20,
        optimize=False,
        verbose=False,
        dynamic_shapes=dynamic_shapes,
        custom_translation_table=TRANSLATIONS,
    )
    kinds = [node.op_type for node in program.model_proto.graph.node]
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (name,) = (node.name for node in session.get_inputs())
    return kinds, lambda value: torch.from_numpy(session.run(None, {name: value.numpy()})[0])


def random_norm(shape, **options):
    norm = nn.LayerNorm(shape, **options).eval().requires_grad_(False)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm


@pytest.mark.parametrize(
    ("x", "shape", "options"),
    [
        ((8,), 8, {}),
        ((4, 8), 8, {}),
        ((1, 4, 8), 8, {}),
        ((3, 2, 4, 8), 8, {}),
        ((3, 2, 4, 8), (4, 8), {}),
        ((2, 8), 8, {"bias": False}),
        ((2, 8), 8, {"elementwise_affine": False}),
        ((2, 1), 1, {}),
    ],
)
def test_every_shape_is_an_instance_norm(x, shape, options):
    norm, x = random_norm(shape, **options), torch.randn(x)
    kinds, run = exported(norm, x)
    assert "InstanceNormalization" in kinds
    assert "LayerNormalization" not in kinds
    torch.testing.assert_close(run(x), norm(x), rtol=1e-6, atol=2e-6)


def test_the_number_of_rows_may_be_dynamic():
    norm = random_norm(8)
    _, run = exported(norm, torch.randn(2, 4, 8), DYNAMIC)
    for count in (2, 5, 100):
        x = torch.randn(3, count, 8)
        torch.testing.assert_close(run(x), norm(x), rtol=1e-6, atol=2e-6)


def test_rows_far_from_zero_are_normalised_as_exactly_as_by_eager():
    norm, x = nn.LayerNorm(256, eps=1e-12).eval(), torch.randn(20, 256) + 100
    _, run = exported(norm, x)
    exact = norm.double()(x.double())
    eager = (norm.float()(x) - exact).abs().max()
    assert (run(x) - exact).abs().max() < 3 * eager


def test_a_constant_row_is_its_bias():
    norm, x = random_norm(8, eps=1e-12), torch.full((2, 8), 1e4)
    _, run = exported(norm, x)
    torch.testing.assert_close(run(x), norm.bias.expand(2, 8), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize("options", [{}, {"elementwise_affine": False}])
def test_another_dtype_is_left_to_the_runtime(dtype, options):
    norm, x = random_norm(8, **options).to(dtype), torch.randn(4, 8).to(dtype)
    kinds, run = exported(norm, x)
    assert "LayerNormalization" in kinds
    torch.testing.assert_close(run(x), norm(x), rtol=1e-2, atol=1e-2)
