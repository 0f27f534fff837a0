"""How the operators of aten round, by name: what a sound kernel of float32 may lose in each.

Exact ones choose, move or compare numbers and lose nothing; IEEE 754 gives the nearest number to a
sum, a product, a quotient or a root, so a result that float32 holds is that result. Functions are
approximated: of XNNPACK (ExecuTorch 1.4) exp was measured to be off by 8.8 units, tanh by 4.2 and
sigmoid by 3.6, of ONNX Runtime 1.29 tanh by 5.4. Some are made of parts that cancel, exp(x) - 1 for
one, and are worth as much as the parts. What is in no table may be off by a unit of its largest
number.
"""

from typing import Any


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


EXACT = _names(
    """
    _cummax_helper _cummin_helper _local_scalar_dense _reshape_alias _reshape_copy _unsafe_index
    _unsafe_view _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    abs adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d alias alias_copy amax amin
    aminmax arange as_strided_copy as_strided_scatter bernoulli cat ceil channel_shuffle clamp
    clamp_max clamp_min clone complex conj_physical constant_pad_nd copy copysign cummax cummin
    detach detach_copy diag diag_embed diagonal_copy diagonal_scatter embedding empty empty_like
    empty_strided expand_copy eye fill fill_diagonal flip floor fmax fmin fmod frac
    fractional_max_pool2d fractional_max_pool3d full full_like gather glu_copy hardshrink
    hardtanh heaviside im2col imag index index_copy index_fill index_put index_select kthvalue
    lift lift_fresh lift_fresh_copy masked_fill masked_scatter masked_select max max_pool1d
    max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d maximum
    median min minimum mode nan_to_num nanmedian neg new_empty new_empty_strided new_full
    new_ones new_zeros nextafter ones ones_like permute_copy pixel_shuffle pixel_unshuffle
    polar_copy put real reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 repeat
    replication_pad1d replication_pad2d replication_pad3d resolve_conj resolve_neg roll rot90
    round scalar_tensor scatter select_copy select_scatter sgn sign slice_copy slice_scatter sort
    split_copy split_with_sizes_copy squeeze_copy stack t_copy take threshold topk transpose_copy
    tril triu trunc unbind_copy unfold unfold_copy unsafe_chunk unsafe_split unsqueeze_copy
    upsample_nearest1d upsample_nearest2d upsample_nearest3d view_as_complex_copy
    view_as_real_copy view_copy where zero zeros zeros_like
    """
)
IEEE = _names(
    """
    _prelu_kernel _to_copy add addcdiv addcmul div divide hardsigmoid hardswish leaky_relu lerp
    mul multiply prelu reciprocal remainder rsub sqrt square sub subtract true_divide
    """
)
PRODUCTS = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot"), 2),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "convolution"), 3),
}
"""The sums of products, and how many of their first arguments are multiplied or added."""
NORMS = ("native_layer_norm", "native_group_norm", "native_batch_norm")
UNORDERED = ("sort", "topk", "kthvalue", "median", "mode")
"""These do not say which of equal numbers they name."""
AVERAGES = _names(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _upsample_bilinear2d_aa avg_pool1d avg_pool2d
    avg_pool3d index_add scatter_add upsample_bilinear2d upsample_linear1d upsample_trilinear3d
    """
)
"""Weighted sums of their first argument with weights that are not negative."""
WEIGHTED = _names("_upsample_bicubic2d_aa grid_sampler_2d grid_sampler_3d upsample_bicubic2d")
"""Weighted sums of their first argument with weights of either sign, of about 1."""
APPROXIMATION = 8
"""Units that a function is moved by."""
ABSOLUTE = {
    **dict.fromkeys(("asinh", "atanh", "cos", "erf", "expm1", "log1p", "sigmoid", "sin"), 1),
    **dict.fromkeys(("sinh", "tan", "logit"), 1),
    "sinc": 2,  # of a phase that has rounded
    **dict.fromkeys(("log_sigmoid_forward", "_log_softmax", "logaddexp", "logsumexp"), 2),
    "softplus": 2,
}
"""Units of 1 besides, where a function is made of parts of about 1."""
BELOW_ZERO = {"celu": 3, "elu": 3, "gelu": 3, "mish": 8, "silu": 8, "glu": 1}
"""The same, of negative results alone: x by what vanishes, or exp(x) - 1."""


def name_of(func: Any) -> str:
    """Return the name of an operator, the same in place or not."""
    name: str = func._schema.name.rpartition("::")[2]
    return name if name.startswith("__") else name.rstrip("_")
