"""The modules stand in for ESPnet's, and do more. The oracle is ESPnet itself."""

import copy
import io
import pickle

import pytest
import torch
from espnet2.asr_transducer.decoder.modules.mega import positional_bias as espnet
from hypothesis import example, given
from hypothesis import strategies as st

from deploy_bias import RelativePositionBias, RotaryRelativePositionBias
from deploy_bias.export.graphs.bias import exact_float64
from tests.conftest import BOTH


def pair(ours, theirs, arguments, seed=0, val=0.1, std=0.5):
    torch.manual_seed(seed)
    oracle = theirs(*arguments)
    oracle.reset_parameters(val=val, std=std)
    module = ours(*arguments)
    module.load_state_dict(oracle.state_dict(), strict=True)
    return module, oracle


class TestAgainstEspnet:
    @given(positions=st.integers(1, 200), data=st.data())
    def test_simple_is_equal_bit_for_bit(self, positions, data):
        length = data.draw(st.integers(1, positions))
        ours, theirs = pair(RelativePositionBias, espnet.RelativePositionBias, (positions,))
        assert torch.equal(ours(length), theirs(length))

    @given(
        half=st.one_of(st.integers(1, 4), st.integers(1, 64)),
        sizes=st.one_of(st.integers(1, 12), st.integers(1, 300)).flatmap(
            lambda positions: st.tuples(st.just(positions), st.integers(1, positions))
        ),
        val=st.sampled_from([0.0, 0.1]),
        std=st.sampled_from([0.02, 0.5]),
        seed=st.integers(0, 2**20),
    )
    # Float32 tables lost to ESPnet here by a factor of two.
    @example(half=3, sizes=(3, 2), val=0.0, std=0.5, seed=1007687)
    @example(half=4, sizes=(2, 2), val=0.0, std=0.02, seed=368417)
    def test_rotary_is_at_least_as_close_to_float64(self, half, sizes, val, std, seed):
        positions, length = sizes
        ours, theirs = pair(
            RotaryRelativePositionBias,
            espnet.RotaryRelativePositionBias,
            (2 * half, positions),
            seed,
            val,
            std,
        )
        exact = exact_float64(ours, torch.zeros(1, length, length))[0]
        with torch.no_grad():
            error = (ours(length).double() - exact).abs()
            espnets = (theirs(length).double() - exact).abs()
        # In every element, and so in the largest. What is left is the reference's own rounding:
        # angles up to 300, each good to 1e-16 of itself.
        noise = 1e-13 * ours.alpha.double().norm() * ours.beta.double().norm()
        assert (error <= espnets + noise).all()
        assert error.max() <= espnets.max() + noise

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_rotary_is_the_nearest_value_of_its_dtype(self, dtype):
        module = RotaryRelativePositionBias(64, 512)
        module.reset_parameters(val=0.1, std=0.5)
        module.to(dtype)
        exact = exact_float64(module, torch.zeros(1, 512, 512))[0]
        with torch.no_grad():
            assert torch.equal(module(512), exact.to(dtype))

    def test_rotary_is_closer_where_angles_are_large(self):
        ours, theirs = pair(
            RotaryRelativePositionBias, espnet.RotaryRelativePositionBias, (128, 2048)
        )
        exact = exact_float64(ours, torch.zeros(1, 2048, 2048))[0]
        with torch.no_grad():
            error = (ours(2048).double() - exact).abs().max()
            espnets = (theirs(2048).double() - exact).abs().max()
        assert error * 5 < espnets

    @BOTH
    def test_state_dicts_load_strictly_both_ways(self, ours, theirs, arguments):
        a, b = ours(*arguments), theirs(*arguments)
        a.load_state_dict(b.state_dict(), strict=True)
        b.load_state_dict(a.state_dict(), strict=True)
        assert list(a.state_dict()) == list(b.state_dict())
        torch.testing.assert_close(a(64), b(64), rtol=0, atol=1e-8)

    @BOTH
    @pytest.mark.parametrize("length", [1, 2, 33, 64])
    def test_gradients(self, ours, theirs, arguments, length):
        module, oracle = pair(ours, theirs, arguments)
        weight = torch.randn(length, length)
        (module(length) * weight).sum().backward()
        (oracle(length) * weight).sum().backward()
        theirs_by_name = dict(oracle.named_parameters())
        for name, parameter in module.named_parameters():
            expected = theirs_by_name[name].grad
            # Relative to the gradient as a whole: single elements cancel to nearly nothing.
            assert (parameter.grad - expected).norm() <= 1e-5 * expected.norm(), name


class TestWindow:
    @BOTH
    @given(data=st.data())
    def test_is_the_last_rows(self, ours, theirs, arguments, data):
        keys = data.draw(st.integers(1, 64))
        queries = data.draw(st.integers(1, keys))
        module = ours(*arguments)
        assert torch.equal(module.window(queries, keys), module(keys)[-queries:])

    @pytest.mark.parametrize(
        "module", [RelativePositionBias(200_000), RotaryRelativePositionBias(2, 200_000)]
    )
    def test_does_not_build_the_square(self, module):
        # A square of 200,000 positions would take 160 GB.
        expected = module.offsets()[:200_000]
        assert torch.equal(module.window(1, 200_000)[0], expected)

    @BOTH
    def test_computes_no_more_than_its_offsets(self, ours, theirs, arguments, monkeypatch):
        module = ours(*arguments)
        asked = []
        monkeypatch.setattr(module, "diagonals", lambda q, k: asked.append((q, k)) or torch.ones(9))
        module.window(2, 8)
        assert asked == [(2, 8)]

    @BOTH
    def test_gradients(self, ours, theirs, arguments):
        module, oracle = pair(ours, theirs, arguments)
        weight = torch.randn(3, 50)
        (module.window(3, 50) * weight).sum().backward()
        (oracle(50)[-3:] * weight).sum().backward()
        for (name, parameter), expected in zip(
            module.named_parameters(), oracle.parameters(), strict=True
        ):
            assert (parameter.grad - expected.grad).norm() <= 1e-5 * expected.grad.norm(), name

    @BOTH
    def test_offsets_is_the_whole_bias(self, ours, theirs, arguments):
        module = ours(*arguments)
        offsets, square = module.offsets(), module(64)
        assert offsets.shape == (127,)
        assert torch.equal(offsets[63:], square[0])
        assert torch.equal(offsets[:64].flip(0), square[:, 0])


class TestTransforms:
    @BOTH
    def test_script(self, ours, theirs, arguments):
        module = ours(*arguments)
        script = torch.jit.script(module)
        assert torch.equal(script(9), module(9))
        assert torch.equal(script.window(2, 9), module.window(2, 9))
        assert torch.equal(script.offsets(), module.offsets())
        with pytest.raises(torch.jit.Error, match="1 to 64"):
            script(65)

    @BOTH
    @pytest.mark.parametrize("strict", [False, True])
    def test_export_static(self, ours, theirs, arguments, strict):
        module = ours(*arguments)
        program = torch.export.export(module, (11,), strict=strict)
        assert torch.equal(program.module()(11), module(11))

    @BOTH
    def test_export_dynamic_up_to_max_positions(self, ours, theirs, arguments):
        module = ours(*arguments)
        shapes = (torch.export.Dim.DYNAMIC,)
        exported = torch.export.export(module, (11,), dynamic_shapes=shapes).module()
        for length in (2, 3, 31, 64):
            assert torch.equal(exported(length), module(length))
        for length in (1, 65):  # torch.export takes a size of 1 for a special case
            with pytest.raises(AssertionError, match="Guard failed"):
                exported(length)

    @BOTH
    def test_export_dynamic_from_one(self, ours, theirs, arguments):
        module = ours(*arguments)
        shapes = (torch.export.Dim.DYNAMIC,)
        with torch.fx.experimental._config.patch(backed_size_oblivious=True):
            exported = torch.export.export(module, (11,), dynamic_shapes=shapes).module()
        for length in (1, 2, 64):
            assert torch.equal(exported(length), module(length))

    @BOTH
    def test_export_dynamic_window(self, ours, theirs, arguments):
        class Window(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.bias = ours(*arguments)

            def forward(self, query_length, key_length):
                return self.bias.window(query_length, key_length)

        module, either = Window(), torch.export.Dim.DYNAMIC
        program = torch.export.export(module, (3, 11), dynamic_shapes=(either, either))
        exported = program.module()
        for window in ((2, 2), (2, 64), (5, 7), (64, 64)):
            assert torch.equal(exported(*window), module(*window))
        for window in ((5, 4), (5, 65)):
            with pytest.raises(AssertionError, match="Guard failed"):
                exported(*window)

    @BOTH
    def test_compile_fullgraph(self, ours, theirs, arguments):
        module = ours(*arguments)
        compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
        for length in (5, 9, 64):
            torch.testing.assert_close(compiled(length), module(length), rtol=0, atol=1e-7)


class TestMoves:
    @BOTH
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_to_dtype(self, ours, theirs, arguments, dtype):
        module = ours(*arguments).to(dtype)
        assert module(7).dtype == module.window(2, 7).dtype == module.offsets().dtype == dtype
        assert {parameter.dtype for parameter in module.parameters()} == {dtype}

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_tables_stay_float64_through_any_cast(self, dtype):
        module = RotaryRelativePositionBias(16, 64)
        sin, cos = module.sin.clone(), module.cos.clone()
        module.to(dtype).float()
        assert module.sin.dtype == torch.float64
        assert torch.equal(module.sin, sin)
        assert torch.equal(module.cos, cos)

    def test_a_float64_module_is_exact_to_float64(self):
        module = RotaryRelativePositionBias(16, 64).double()
        exact = exact_float64(module, torch.zeros(1, 64, 64))[0]
        assert (module(64) - exact).abs().max() < 1e-15

    @BOTH
    def test_deepcopy_and_pickle(self, ours, theirs, arguments):
        module = ours(*arguments)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(twin(64), module(64))
            with torch.no_grad():
                next(twin.parameters()).add_(1.0)
            assert not torch.equal(twin(64), module(64))

    @BOTH
    def test_parameters_trained_on_show_at_once(self, ours, theirs, arguments):
        module, oracle = pair(ours, theirs, arguments)
        module(64), oracle(64)
        for parameter in (*module.parameters(), *oracle.parameters()):
            parameter.data.mul_(1.5)
        torch.testing.assert_close(module(64), oracle(64), rtol=0, atol=2e-5)

    @BOTH
    @pytest.mark.parametrize("assign", [False, True])
    def test_meta_construction(self, ours, theirs, arguments, assign):
        module = ours(*arguments)
        buffer = io.BytesIO()
        torch.save(module.state_dict(), buffer)
        buffer.seek(0)
        with torch.device("meta"):
            twin = ours(*arguments)
        if not assign:
            twin.to_empty(device="cpu")
        twin.load_state_dict(torch.load(buffer, weights_only=True), assign=assign)
        assert torch.equal(twin(64), module(64))

    @BOTH
    def test_assigning_another_dtype(self, ours, theirs, arguments):
        module = ours(*arguments)
        twin = ours(*arguments)
        twin.load_state_dict(module.double().state_dict(), assign=True)
        assert torch.equal(twin(64), module(64))

    @BOTH
    def test_reset_parameters(self, ours, theirs, arguments):
        module = ours(*arguments)
        module.reset_parameters(val=3.0, std=0.0)
        assert all((parameter == 3.0).all() for parameter in module.parameters())

    @pytest.mark.parametrize(
        "module", [RelativePositionBias(20_000), RotaryRelativePositionBias(20_000, 2)]
    )
    def test_parameters_start_as_espnets_do(self, module):
        for parameter in module.parameters():
            assert abs(parameter.mean().item()) < 1e-3
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05)


class TestBadArguments:
    @BOTH
    @pytest.mark.parametrize("length", [0, -1, 65])
    def test_length_out_of_range(self, ours, theirs, arguments, length):
        with pytest.raises(ValueError, match=rf"length must be 1 to 64 .*got {length}\."):
            ours(*arguments)(length)

    @BOTH
    @pytest.mark.parametrize("length", [True, 2.0, "3", None])
    def test_length_no_int(self, ours, theirs, arguments, length):
        with pytest.raises(TypeError, match=rf"length must be an int, got {length!r}"):
            ours(*arguments)(length)

    @BOTH
    def test_window_wider_than_its_keys(self, ours, theirs, arguments):
        with pytest.raises(ValueError, match=r"query_length must be 1 to 4 \(key_length\), got 5"):
            ours(*arguments).window(5, 4)
        with pytest.raises(
            ValueError, match=r"key_length must be 1 to 64 \(max_positions\), got 65"
        ):
            ours(*arguments).window(5, 65)
        with pytest.raises(TypeError, match=r"key_length must be an int, got 4\.0"):
            ours(*arguments).window(1, 4.0)
        with pytest.raises(TypeError, match="query_length must be an int, got True"):
            ours(*arguments).window(True, 4)
        with pytest.raises(ValueError, match=r"query_length must be 1 to 4 .*got 0"):
            ours(*arguments).window(0, 4)

    def test_constructors(self):
        with pytest.raises(ValueError, match="max_positions must be at least 1, got 0"):
            RelativePositionBias(0)
        with pytest.raises(TypeError, match="max_positions must be an int, got True"):
            RelativePositionBias(True)
        with pytest.raises(ValueError, match=r"size must be even .*got 7"):
            RotaryRelativePositionBias(7)
        with pytest.raises(ValueError, match="size must be at least 2, got 0"):
            RotaryRelativePositionBias(0)
        with pytest.raises(TypeError, match=r"size must be an int, got 8\.0"):
            RotaryRelativePositionBias(8.0)
        with pytest.raises(ValueError, match="max_positions must be at least 1, got -3"):
            RotaryRelativePositionBias(8, -3)
