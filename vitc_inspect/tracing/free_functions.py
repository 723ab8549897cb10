"""Names of the torch functions without MACs: they sum no products along an axis.

Each number that comes out of one is made of a fixed few products at most, however long the axes.
"""

from __future__ import annotations

OPERATORS = (
    *("add", "sub", "mul", "truediv", "div", "floordiv", "mod", "pow", "matmul"),
    *("and", "or", "xor", "lshift", "rshift"),
)
"""Python's operators of two operands, each of which has a reflected and an in-place form."""

_PLAIN_OPERATORS = {
    f"__{side}{operator}__": f"__{operator}__" for operator in OPERATORS for side in ("r", "i")
}


def plain_name(name: str) -> str:
    """Return the name of the out-of-place variant of a function.

    >>> plain_name("addmm_"), plain_name("__imul__"), plain_name("__radd__"), plain_name("add")
    ('addmm', '__mul__', '__add__', 'add')
    """
    if name.endswith("__"):
        return _PLAIN_OPERATORS.get(name, name)
    return name.rstrip("_")


def is_free(name: str) -> bool:
    """Whether a function sums no products along an axis.

    >>> is_free("mul_"), is_free("__eq__"), is_free("special_softmax"), is_free("bmm")
    (True, True, True, False)
    """
    plain = plain_name(name)
    return plain in _FREE or plain.startswith("special_")


_FREE = frozenset(
    " ".join(
        (
            # made, copied, converted
            "arange as_tensor bernoulli bfloat16 binomial bool byte cauchy cdouble cfloat chalf",
            "char clone complex constant contiguous copy cpu cuda dequantize detach detach_copy",
            "double empty empty_like exponential eye fill float from_numpy full full_like",
            "geometric half int ipu kaiming_uniform linspace log_normal logspace long",
            "mtia multinomial new_empty new_full new_ones new_tensor new_zeros normal numpy ones",
            "ones_like pin_memory poisson polar quantize_per_channel quantize_per_tensor",
            "quantize_per_tensor_dynamic rand rand_like randint randint_like randn randn_like",
            "randperm random requires_grad resize resize_as retain_grad set short tensor to",
            "to_dense to_mkldnn to_sparse type type_as uniform xpu zero zeros zeros_like",
            "__array__ __deepcopy__ __reduce_ex__ resolve_conj resolve_neg share_memory",
            "module_load __array_wrap__ nested_tensor as_nested_tensor to_padded_tensor",
            "int_repr _to_dense lift_fresh alias",
            # moved
            "__getitem__ __setitem__ T mT H mH adjoint alias_copy argwhere as_strided",
            "as_strided_copy as_strided_scatter atleast_1d atleast_2d atleast_3d block_diag",
            "broadcast_tensors broadcast_to cartesian_prod cat channel_shuffle chunk column_stack",
            "combinations concat concatenate constant_pad_nd diag diag_embed diagflat diagonal",
            "diagonal_copy diagonal_scatter dsplit dstack embedding expand expand_as expand_copy",
            "fill_diagonal flatten flip fliplr flipud gather hsplit hstack im2col index index_copy",
            "index_fill index_put index_select linalg_diagonal masked_fill masked_scatter",
            "masked_select meshgrid movedim moveaxis narrow narrow_copy native_channel_shuffle",
            "nonzero nonzero_static one_hot pad pad_sequence permute permute_copy pixel_shuffle",
            "pixel_unshuffle put ravel real imag repeat repeat_interleave reshape reshape_as roll",
            "rot90 row_stack scatter select select_copy select_scatter slice_copy slice_inverse",
            "slice_scatter split split_copy split_with_sizes split_with_sizes_copy squeeze",
            "squeeze_copy stack swapaxes swapdims t t_copy take take_along_dim tensor_split tile",
            "transpose transpose_copy tril triu tril_indices triu_indices unbind unbind_copy",
            "unflatten unfold unfold_copy unravel_index unsafe_chunk unsafe_split",
            "unsafe_split_with_sizes unsqueeze unsqueeze_copy view view_as view_as_complex",
            "view_as_complex_copy view_as_real view_as_real_copy view_copy vsplit vstack where",
            "conj _conj _neg_view _reshape_alias _nested_view_from_jagged",
            "_nested_view_from_buffer fft_fftshift fft_ifftshift",
            # indices, values, offsets of tensors that hold them
            "values values_copy indices indices_copy _values _values_copy _indices _indices_copy",
            "crow_indices crow_indices_copy col_indices col_indices_copy ccol_indices",
            "ccol_indices_copy row_indices row_indices_copy coalesce _coalesced sparse_mask",
            "sparse_resize sparse_resize_and_clear _nested_tensor_size _nested_tensor_strides",
            "_nested_tensor_storage_offsets q_per_channel_scales q_per_channel_zero_points",
            # added, scaled, compared, element by element
            "__add__ __sub__ __mul__ __truediv__ __div__ __floordiv__ __mod__ __pow__ __neg__",
            "__pos__ __abs__ __and__ __or__ __xor__ __invert__ __lshift__ __rshift__ __eq__ __ne__",
            "__lt__ __le__ __gt__ __ge__",
            "abs absolute acos acosh add addcdiv addcmul angle arccos arccosh arcsin arcsinh",
            "arctan arctan2 arctanh asin asinh atan atan2 atanh bitwise_and bitwise_left_shift",
            "bitwise_not bitwise_or bitwise_right_shift bitwise_xor bucketize ceil clamp clamp_max",
            "clamp_min clip conj_physical copysign cos cosh cross deg2rad digamma div divide eq",
            "erf erfc erfinv exp exp2 expm1 fix float_power floor floor_divide fmax fmin fmod frac",
            "frexp gcd ge greater greater_equal gt heaviside hypot i0 igamma igammac isclose",
            "isfinite isin isinf isnan isneginf isposinf isreal lcm ldexp le lerp less less_equal",
            "lgamma linalg_cross log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not",
            "logical_or logical_xor logit lt maximum minimum mul multiply mvlgamma nan_to_num ne",
            "neg negative nextafter not_equal polygamma positive pow rad2deg reciprocal remainder",
            "round rsqrt rsub searchsorted sgn sigmoid sign signbit sin sinc sinh sqrt square sub",
            "subtract tan true_divide trunc xlogy fake_quantize_per_channel_affine",
            "fake_quantize_per_tensor_affine fused_moving_avg_obs_fake_quant linalg_vander vander",
            # summed, picked, sorted
            "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d",
            "adaptive_max_pool1d_with_indices adaptive_max_pool2d",
            "adaptive_max_pool2d_with_indices adaptive_max_pool3d",
            "adaptive_max_pool3d_with_indices all allclose amax amin aminmax any argmax argmin",
            "argsort avg_pool1d avg_pool2d avg_pool3d bincount col2im count_nonzero cummax cummin",
            "cumprod cumsum cumulative_trapezoid diff dist embedding_bag equal fold",
            "fractional_max_pool2d fractional_max_pool2d_with_indices fractional_max_pool3d",
            "fractional_max_pool3d_with_indices frobenius_norm gradient histc histogram",
            "histogramdd index_add index_reduce kthvalue linalg_norm linalg_vector_norm",
            "logcumsumexp logsumexp lp_pool1d lp_pool2d lp_pool3d max max_pool1d",
            "max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d",
            "max_pool3d_with_indices max_unpool1d max_unpool2d max_unpool3d mean median min mode",
            "msort nanmean nanmedian nanquantile nansum norm native_norm prod quantile",
            "quantized_max_pool1d quantized_max_pool2d quantized_max_pool3d renorm scatter_add",
            "scatter_reduce segment_reduce sort std std_mean sum sum_to_size topk trace trapezoid",
            "trapz unique unique_consecutive var var_mean",
            # resampled: a few neighbours for each element
            "grid_sample grid_sampler grid_sampler_2d grid_sampler_3d interpolate upsample",
            "upsample_bilinear upsample_nearest",
            *(f"upsample_{how}" for how in ("nearest1d", "nearest2d", "nearest3d", "linear1d")),
            "upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d",
            # normalised, activated, dropped, compared with a target
            "_weight_norm norm_except_dim alpha_dropout batch_norm batch_norm_elemt",
            "batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_stats",
            "batch_norm_update_stats celu dropout dropout1d dropout2d dropout3d elu",
            "feature_alpha_dropout feature_dropout _fused_rms_norm gelu glu group_norm",
            "gumbel_softmax hardshrink hardsigmoid hardswish hardtanh instance_norm layer_norm",
            "leaky_relu local_response_norm log_sigmoid log_softmax logsigmoid",
            "miopen_batch_norm mish native_batch_norm _native_batch_norm_legit native_dropout",
            "native_group_norm native_layer_norm normalize prelu quantized_batch_norm relu relu6",
            "rms_norm rrelu selu silu softmax softmin softplus softshrink softsign tanh",
            "tanhshrink threshold _threshold _softmax _log_softmax",
            "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss",
            "cosine_similarity cross_entropy ctc_loss gaussian_nll_loss hinge_embedding_loss",
            "huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss",
            "multilabel_margin_loss multilabel_soft_margin_loss nll_loss pairwise_distance",
            "poisson_nll_loss smooth_l1_loss soft_margin_loss triplet_margin_loss",
            # sent elsewhere
            "all_gather all_gather_coalesced all_gather_single all_reduce all_reduce_coalesced",
            "all_to_all all_to_all_single broadcast reduce reduce_scatter reduce_scatter_single",
        )
    ).split()
)
