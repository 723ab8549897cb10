"""Every function of torch is free, counted, or known not to be."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import get_testing_overrides

from tests.tracing.modules import Runs
from vitc_inspect.tracing.counting import NOT_COUNTED
from vitc_inspect.tracing.free_functions import is_free
from vitc_inspect.tracing.recorder import record_module
from vitc_inspect.tracing.rules import our_rule_of_function

FREE_CALLS = [
    lambda x: x == 1,
    lambda x: x != 1,
    lambda x: (x > 0) | (x < 0) & ~(x >= 1) ^ (x <= 2),
    lambda x: x // 2 % 3,
    lambda x: torch.isclose(x, x),
    lambda x: torch.where(x > 0, x, 0.0),
    lambda x: x.cummax(-1)[0],
    lambda x: x.masked_scatter(x > 0, x),
    lambda x: x.scatter_add(0, torch.zeros_like(x, dtype=torch.long), x),
    lambda x: x.index_put((torch.tensor([0]),), x[0]),
    lambda x: torch.nan_to_num(x).mul_(2).add_(1).clamp_(0),
    lambda x: torch.special.expit(x) + torch.special.softmax(x, -1),
    lambda x: torch.softmax(x, -1) + x.softmax(-1) + functional.softmax(x, -1),
    lambda x: functional.interpolate(x[None, None], scale_factor=2),
    lambda x: functional.grid_sample(x[None, None], torch.zeros(1, 2, 2, 2), align_corners=False),
    lambda x: functional.fold(functional.unfold(x[None, None], 2), x.shape, 2),
    lambda x: functional.mse_loss(x, x) + functional.cross_entropy(x, x),
    lambda x: functional.cosine_similarity(x, x),
    lambda x: torch.bitwise_and(x.to(torch.int8), 1),
    lambda x: nn.utils.rnn.pad_sequence([x, x]),
    lambda x: torch.view_as_real(torch.polar(x, x)),
    lambda x: x.floor_divide_(2),
    lambda x: torch.linalg.vector_norm(x) + torch.linalg.norm(x),
    lambda x: x.bool().any(0).float(),
    lambda x: torch.arange(4).unflatten(0, (2, 2)),
]


@pytest.mark.parametrize("call", FREE_CALLS)
def test_what_sums_no_products_costs_nothing_and_is_not_uncounted(call):
    recording = record_module(Runs(lambda _, x: call(x)), torch.rand(3, 4))
    assert recording.failure is None
    assert (recording.macs, recording.uncounted) == (0, ())


def test_every_function_of_torch_has_its_place():
    warnings.simplefilter("ignore")
    names = {getattr(function, "__name__", "__get__") for function in get_testing_overrides()}
    counted = set(filter(our_rule_of_function, names))
    free = set(filter(is_free, names))
    refused = names & NOT_COUNTED
    assert not counted & free
    assert not counted & refused
    assert not free & refused
    assert sorted(names - counted - free - refused - WITHOUT_TENSORS) == []


WITHOUT_TENSORS = frozenset(
    " ".join(
        (
            "__bool__ __complex__ __contains__ __dlpack__ __dlpack_device__ __float__ __format__",
            "__get__ __index__ __int__ __len__ __long__ __nonzero__ __repr__ __reversed__",
            "__setstate__ _assert_async _autocast_to_full_precision",
            "_autocast_to_reduced_precision _clear_non_serializable_cached_data _conj_copy _dimI",
            "_dimV _functional_assert_async _fw_primal_copy _is_view _make_dual_copy",
            "_neg_view_copy _nnz _reshape_alias_copy _rowwise_prune _sparse_broadcast_to_copy",
            "_sparse_mask_projection _sym_acos _sym_asin _sym_atan _sym_cos _sym_cosh _sym_sin",
            "_sym_sinh _sym_sqrt _sym_tan _sym_tanh _wrapped_linear_prepack",
            "_wrapped_quantized_linear_prepacked apply_ backward batch_norm_backward_elemt",
            "batch_norm_backward_reduce const_data_ptr data_ptr dense_dim dim dim_order",
            "element_size fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix get_device",
            "hash_tensor irecv is_coalesced is_complex is_conj is_contiguous is_distributed",
            "is_floating_point is_inference is_neg is_nonzero is_pinned is_same_size is_set_to",
            "is_shared is_signed isend item map2_ map_ ndimension nelement numel",
            "q_per_channel_axis q_scale q_zero_point qscheme record_stream recv register_hook",
            "register_post_accumulate_grad_hook resize_as_sparse_ send size sparse_dim storage",
            "storage_offset storage_type sym_float sym_int sym_ite sym_max sym_min sym_not",
            "sym_sum tolist untyped_storage",
        )
    ).split()
)
"""Functions that return no tensor, that no forward calls, or that are torch's own affair."""
